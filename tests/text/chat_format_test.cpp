// What a chat template sees of messages, against transformers' render_jinja_template
// (tools/make_template_goldens.py).
#include "text/chat_format.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "text/template_cases.h"

namespace nibble {
namespace {

using test::OrderedJson;

ChatFormat format_of(const std::string& source) {
  return {ChatTemplate::parse(source, "template"), {}, OrderedJson::object(), {}, 0, {}};
}

TEST(TemplateReasoning, IsSeenUnderTheNamesThatTransformersGivesIt) {
  size_t rendered = 0, raised = 0;
  for (const OrderedJson& golden :
       test::read_ordered_json(test::golden("text/jinja/reasoning.golden.json"))) {
    const ChatFormat format = format_of(golden[0].get<std::string>());
    if (golden.size() == 2) {
      EXPECT_THROW(format.render(golden[1], {}, false), Error) << golden;
      ++raised;
      continue;
    }
    EXPECT_EQ(format.render(golden[1], {}, false).text, golden[2].get<std::string>()) << golden;
    ++rendered;
  }
  EXPECT_EQ(rendered, 140u);
  EXPECT_EQ(raised, 10u);
  std::printf("%zu renderings of reasoning equal, %zu raise\n", rendered, raised);
}

TEST(TemplateReasoning, ComesFromItsMessage) {
  const ChatFormat format = format_of(
      "{% for m in messages %}{{ m.content }}{% if m.thinking %}<{{ m.thinking }}>{% endif %}"
      "{% endfor %}");
  const OrderedJson messages = OrderedJson::array(
      {{{"role", "user"}, {"content", "u"}},
       {{"role", "assistant"}, {"content", "a"}, {"reasoning_content", "because"}}});
  const Rendering got = format.render(messages, {}, false);
  ASSERT_EQ(got.text, "ua<because>");
  const auto said = std::ranges::find_if(got.spans, [&](const RenderedSpan& span) {
    return got.text.substr(span.begin, span.end - span.begin) == "because";
  });
  ASSERT_NE(said, got.spans.end());
  EXPECT_EQ(said->origin.source, Origin::Source::message);
  EXPECT_EQ(said->origin.message, 1);
  EXPECT_EQ(got.fields.at(static_cast<size_t>(said->origin.field)), "thinking");
}

TEST(TemplateReasoning, MessagesThatAreNoListAreRefusedAsEver) {
  const ChatFormat format = format_of("{{ messages }}");
  EXPECT_THROW(format.render({{"a", {{"thinking", "t"}}}}, {}, false), Error);
}

}  // namespace
}  // namespace nibble
