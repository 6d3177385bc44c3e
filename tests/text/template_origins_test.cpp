// Where every byte of a rendering comes from.
#include "core/error.h"
#include "text/template_cases.h"

namespace nibble {
namespace {

using test::OrderedJson;
using Source = Origin::Source;

const OrderedJson kMessages = OrderedJson::array({
    {{"role", "system"}, {"content", "  Be brief. "}},
    {{"role", "user"}, {"content", "Grüße, <b>&</b> \"q\""}},
    {{"role", "assistant"},
     {"content", "<think>hm</think>\nJa."},
     {"n", 5},
     {"calls", {{{"name", "f"}, {"arguments", {{"x", 1.5}, {"y", {true, nullptr, "z"}}}}}}}},
});

// The rendering as readable pieces: "t:text", "0.content:Be brief.", "tools:...", "v:...".
std::vector<std::string> pieces(const std::string& source,
                                const OrderedJson& messages = kMessages) {
  const OrderedJson tools = OrderedJson::array({{{"name", "f"}, {"strict", true}}});
  const OrderedJson variables = {{"bos_token", "<s>"}};
  RenderOptions options;
  options.tools = &tools;
  options.variables = &variables;
  const Rendering got = ChatTemplate::parse(source, "t").render(messages, options);
  std::vector<std::string> result;
  size_t end = 0;
  for (const auto& span : got.spans) {
    EXPECT_EQ(span.begin, end) << "a gap";
    EXPECT_LT(span.begin, span.end) << "an empty span";
    end = span.end;
    const Origin& o = span.origin;
    const std::string field = o.field < 0 ? "" : "." + got.fields.at(static_cast<size_t>(o.field));
    const std::string where = o.source == Source::template_text ? "t"
                              : o.source == Source::tools       ? "tools"
                              : o.source == Source::variable    ? "v"
                                                                : std::to_string(o.message) + field;
    result.push_back(where + ":" + got.text.substr(span.begin, span.end - span.begin));
  }
  EXPECT_EQ(end, got.text.size());
  return result;
}

using Pieces = std::vector<std::string>;

TEST(TemplateOrigins, TextAndValuesPrinted) {
  EXPECT_EQ(pieces("a{{ bos_token }}b{{ messages[1].content }}c"),
            (Pieces{"t:a", "v:<s>", "t:b", "1.content:Grüße, <b>&</b> \"q\"", "t:c"}));
  EXPECT_EQ(pieces("{{ messages[2].n }}{{ messages[2].n + 1 }}{{ messages[0].role }}"),
            (Pieces{"2.n:5", "t:6", "0.role:system"}));
  EXPECT_EQ(pieces("{{ messages|length }}"), (Pieces{"t:3"}));
  EXPECT_EQ(pieces(""), (Pieces{}));
}

TEST(TemplateOrigins, StringsKeepThemThroughEveryOperation) {
  EXPECT_EQ(pieces("{{ '<|' + messages[0].role + '|>' ~ messages[0].content|trim }}"),
            (Pieces{"t:<|", "0.role:system", "t:|>", "0.content:Be brief."}));
  EXPECT_EQ(
      pieces("{% set x = 'a' + messages[0].role + 'b' %}{{ x[1:3] }}|{{ x[::-1] }}|{{ x|upper }}"),
      (Pieces{"0.role:sy", "t:|b", "0.role:metsys", "t:a|A", "0.role:SYSTEM", "t:B"}));
  EXPECT_EQ(pieces("{{ messages[2].content.split('</think>')[-1].lstrip('\\n') }}"),
            (Pieces{"2.content:Ja."}));
  EXPECT_EQ(pieces("{{ messages|map(attribute='role')|join(', ') }}"),
            (Pieces{"0.role:system", "t:, ", "1.role:user", "t:, ", "2.role:assistant"}));
  EXPECT_EQ(
      pieces("{{ messages[1].content|replace('<b>', '*')|replace('</b>', messages[0].role) }}"),
      (Pieces{"1.content:Grüße, ", "t:*", "1.content:&", "0.role:system", "1.content: \"q\""}));
  EXPECT_EQ(pieces("{% for c in messages[1].role %}{{ c }}-{% endfor %}"),
            (Pieces{"1.role:u", "t:-", "1.role:s", "t:-", "1.role:e", "t:-", "1.role:r", "t:-"}));
  EXPECT_EQ(pieces("{{ '%s=%d' % (messages[0].role, messages[2].n) }}"),
            (Pieces{"0.role:system", "t:=", "2.n:5"}));
  EXPECT_EQ(pieces("{{ '{}: {:>3}'.format(messages[0].role, messages[2].n) }}"),
            (Pieces{"0.role:system", "t:: ", "2.n:  5"}));
  EXPECT_EQ(pieces("{{ messages[1].content|e }}").size(), 1u);
  EXPECT_EQ(pieces("{{ messages[0].role.center(10, '*') }}"),
            (Pieces{"t:**", "0.role:system", "t:**"}));
  EXPECT_EQ(pieces("{{ messages[0].role|indent(2, true) }}"), (Pieces{"t:  ", "0.role:system"}));
}

TEST(TemplateOrigins, BlocksMacrosAndNamespaces) {
  EXPECT_EQ(pieces("{% set x %}[{{ messages[0].role }}]{% endset %}{{ x }}"),
            (Pieces{"t:[", "0.role:system", "t:]"}));
  EXPECT_EQ(pieces("{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(messages[1].role) }}"),
            (Pieces{"t:<", "1.role:user", "t:>"}));
  EXPECT_EQ(pieces("{% set ns = namespace(s='') %}{% for m in messages %}"
                   "{% set ns.s = ns.s + m.role + ';' %}{% endfor %}{{ ns.s }}"),
            (Pieces{"0.role:system", "t:;", "1.role:user", "t:;", "2.role:assistant", "t:;"}));
  EXPECT_EQ(pieces("{% filter upper %}a{{ messages[1].role }}{% endfilter %}"),
            (Pieces{"t:A", "1.role:USER"}));
}

TEST(TemplateOrigins, ContainersPrintedAreOfWhereTheyCameFrom) {
  EXPECT_EQ(pieces("x{{ messages[2].calls|tojson }}y"),
            (Pieces{"t:x",
                    "2.calls:[{\"name\": \"f\", \"arguments\": {\"x\": 1.5, \"y\": [true, null, "
                    "\"z\"]}}]",
                    "t:y"}));
  EXPECT_EQ(pieces("{{ messages[2].calls[0].arguments }}"),
            (Pieces{"2.calls:{'x': 1.5, 'y': [True, None, 'z']}"}));
  EXPECT_EQ(pieces("{{ tools|tojson(indent=1) }}"),
            (Pieces{"tools:[\n {\n  \"name\": \"f\",\n  \"strict\": true\n }\n]"}));
  EXPECT_EQ(pieces("{{ {'r': messages[0].role}|tojson }}"),
            (Pieces{"t:{\"r\": ", "0.role:\"system\"", "t:}"}));
  EXPECT_EQ(
      pieces("{{ messages[1]|tojson }}"),
      (Pieces{"1:{", "1.role:\"role\"", "1:: ", "1.role:\"user\"", "1:, ", "1.content:\"content\"",
              "1:: ", "1.content:\"Grüße, <b>&</b> \\\"q\\\"\"", "1:}"}));
  EXPECT_EQ(pieces("{% for k, v in messages[2].calls[0].arguments.items() %}{{ k }}={{ v }};"
                   "{% endfor %}"),
            (Pieces{"2.calls:x", "t:=", "2.calls:1.5", "t:;", "2.calls:y",
                    "t:=", "2.calls:[True, None, 'z']", "t:;"}));
}

// The same text from two messages has two origins, and from the template a third.
TEST(TemplateOrigins, EqualTextsAreToldApart) {
  const OrderedJson messages = OrderedJson::array(
      {{{"role", "user"}, {"content", "same"}}, {{"role", "assistant"}, {"content", "same"}}});
  EXPECT_EQ(pieces("same{{ messages[1].content }}{{ messages[0].content }}", messages),
            (Pieces{"t:same", "1.content:same", "0.content:same"}));
}

TEST(TemplateOrigins, CoverTheTextOfEveryTemplateAndFindEveryMessage) {
  for (const char* name : {"chatml", "headers_tools", "thinking", "training_block"}) {
    const auto parsed = ChatTemplate::parse(
        test::read_file(test::golden("text/jinja/families/" + std::string(name) + ".jinja")), name);
    for (const auto& each : test::template_cases()) {
      Rendering got;
      try {
        got = each.render(parsed);
      } catch (const Error&) {
        continue;
      }
      size_t end = 0;
      for (const auto& span : got.spans) {
        ASSERT_EQ(span.begin, end);
        ASSERT_GT(span.end, span.begin);
        end = span.end;
        if (span.origin.source != Source::message || span.origin.field < 0) continue;
        // What has the origin of a string is part of that string.
        const auto& field = got.fields.at(static_cast<size_t>(span.origin.field));
        const auto& value = each.messages.at(static_cast<size_t>(span.origin.message)).at(field);
        const std::string piece = got.text.substr(span.begin, span.end - span.begin);
        if (value.is_string() && field == "content" && std::string(name) != "training_block") {
          EXPECT_NE(value.get<std::string>().find(piece), std::string::npos) << piece;
        }
      }
      ASSERT_EQ(end, got.text.size());
    }
  }
}

}  // namespace
}  // namespace nibble
