// The Jinja engine against jinja2 as transformers sets it up (tools/make_template_goldens.py):
// small templates, one for each thing the language has, and chat templates of our own.
#include <cstdio>

#include "core/error.h"
#include "text/template_cases.h"

namespace nibble {
namespace {

using test::OrderedJson;

// What the template gives, or nothing where it fails.
std::optional<std::string> render(const std::string& source, const OrderedJson& variables) {
  RenderOptions options;
  options.variables = &variables;
  options.now = test::kTemplateClock;
  try {
    return ChatTemplate::parse(source, "snippet").render(OrderedJson::array(), options).text;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::bad_input) << source;
    EXPECT_EQ(std::string(error.what()).substr(0, 14), "snippet: line ") << error.what();
    return std::nullopt;
  }
}

TEST(Jinja, SnippetsEqualJinja2) {
  const OrderedJson golden =
      test::read_ordered_json(test::golden("text/jinja/snippets.golden.json"));
  size_t rendered = 0, raised = 0;
  for (size_t i = 1; i < golden.size(); ++i) {
    const auto source = golden[i][0].get<std::string>();
    const auto got = render(source, golden[0]);
    if (golden[i].size() == 1) {
      EXPECT_FALSE(got.has_value()) << source << "\nmust fail, but gives " << *got;
      ++raised;
    } else {
      ASSERT_TRUE(got.has_value()) << source << "\nmust give " << golden[i][1];
      EXPECT_EQ(*got, golden[i][1].get<std::string>()) << source;
      ++rendered;
    }
  }
  EXPECT_GE(rendered, 350u);
  EXPECT_GE(raised, 300u);
  std::printf("%zu snippets rendered, %zu refused, as by jinja2\n", rendered, raised);
}

TEST(Jinja, FamiliesEqualJinja2) {
  const auto cases = test::template_cases();
  size_t rendered = 0, raised = 0;
  for (const auto& golden :
       test::read_ordered_json(test::golden("text/jinja/families.golden.json"))) {
    const auto name = golden[0].get<std::string>();
    SCOPED_TRACE(name);
    const auto parsed =
        ChatTemplate::parse(test::read_file(test::golden("text/jinja/families/" + name)), name);
    ASSERT_EQ(golden[1].size(), cases.size());
    for (size_t i = 0; i < cases.size(); ++i) {
      const OrderedJson& expected = golden[1][i];
      if (expected.is_null()) {
        EXPECT_THROW(cases[i].render(parsed), Error) << cases[i].messages;
        ++raised;
        continue;
      }
      ++rendered;
      const Rendering got = cases[i].render(parsed);
      EXPECT_EQ(got.text, expected[0].get<std::string>());
      // Within a macro or a set block transformers counts from the wrong place (see the next test).
      if (name != "training_block.jinja") {
        EXPECT_EQ(OrderedJson(got.generation), expected[1]);
      }
    }
  }
  EXPECT_GE(rendered, 150u);
  EXPECT_GE(raised, 20u);
  std::printf("%zu renderings of our own templates equal, %zu raise\n", rendered, raised);
}

// {% generation %} marks the text itself, so it is found again wherever a macro or a block moves
// it.
TEST(Jinja, GenerationIsFoundWhereverItMoves) {
  const auto parsed = ChatTemplate::parse(
      test::read_file(test::golden("text/jinja/families/training_block.jinja")), "training_block");
  const OrderedJson conversation = {{"messages",
                                     {{{"role", "user"}, {"content", "Grüße"}},
                                      {{"role", "assistant"}, {"content", " Hallo! "}},
                                      {{"role", "user"}, {"content", "?"}},
                                      {{"role", "assistant"}, {"content", "Ja."}}}}};
  const Rendering got = test::TemplateCase(conversation, false).render(parsed);
  std::vector<std::string> generated;
  for (const auto& [begin, end] : got.generation) {
    generated.push_back(got.text.substr(begin, end - begin));
  }
  EXPECT_EQ(generated, (std::vector<std::string>{"Hallo!", "Ja."})) << got.text;
}

// Runs `source` and gives the words of its failure.
std::string failure(const std::string& source, const RenderLimits& limits = {}) {
  const OrderedJson variables = OrderedJson::object();
  RenderOptions options;
  options.variables = &variables;
  options.limits = limits;
  try {
    ChatTemplate::parse(source, "hostile").render(OrderedJson::array(), options);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::bad_input);
    return error.what();
  }
  return "no failure";
}

std::string repeated(const std::string& part, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += part;
  return text;
}

TEST(JinjaLimits, LoopsEndByTheStepLimit) {
  const std::string many = "{% for a in range(99999) %}";
  EXPECT_NE(failure(many + many + many + "x" + repeated("{% endfor %}", 3)).find("steps"),
            std::string::npos);
  EXPECT_NE(failure(many + many + "{% set x = 1 %}" + repeated("{% endfor %}", 2)).find("steps"),
            std::string::npos);
  EXPECT_NE(failure("{{ range(10 ** 9)|list }}").find("Range too big"), std::string::npos);
  EXPECT_NE(failure("{% set ns = namespace(t=(1,)) %}" + many +
                    "{% set ns.t = (ns.t, ns.t) %}{% endfor %}{{ ns.t == ns.t }}")
                .find("nest"),
            std::string::npos);
}

TEST(JinjaLimits, GrowthEndsByTheSizeLimit) {
  const std::string doubling =
      "{% set ns = namespace(s='x') %}{% for a in range(999) %}"
      "{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
  EXPECT_NE(failure(doubling).find("larger than"), std::string::npos);
  EXPECT_NE(failure("{{ 'x' * 10 ** 12 }}").find("s"), std::string::npos);
  EXPECT_NE(failure("{{ [1] * 10 ** 12 }}").find("larger than"), std::string::npos);
  EXPECT_NE(failure("{{ 'ab'.center(10 ** 12) }}").find("hostile"), std::string::npos);
  EXPECT_NE(
      failure("{{ 'a'.replace('', 'x' * 1000).replace('x', 'y' * 9999999) }}").find("hostile"),
      std::string::npos);
  EXPECT_NE(failure("{{ '%1000000000d' % 1 }}").find("width"), std::string::npos);
  EXPECT_NE(failure("{% for a in range(999) %}" + repeated("0123456789", 100) + "{% endfor %}",
                    {.max_output = 10000})
                .find("larger than 10000 bytes"),
            std::string::npos);
}

TEST(JinjaLimits, RecursionEndsByTheDepthLimit) {
  EXPECT_NE(failure("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").find("200 calls"),
            std::string::npos);
  EXPECT_NE(failure("{% macro a() %}{% for x in [1] %}{% if true %}{{ [b()] }}{% endif %}"
                    "{% endfor %}{% endmacro %}{% macro b() %}{{ {'k': a()} }}{% endmacro %}"
                    "{{ a() }}")
                .find("too deeply"),
            std::string::npos);
  EXPECT_NE(failure("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}").find("too deeply"),
            std::string::npos);
  EXPECT_NE(failure("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", {.max_depth = 5})
                .find("at most 5 calls"),
            std::string::npos);
}

TEST(JinjaLimits, DeepAndLongTemplatesAreRefusedOrParsed) {
  for (const char* open : {"(", "[", "{1:", "-", "not ", "x(", "x[", "x|default("}) {
    EXPECT_NE(failure("{{ " + repeated(open, 100000)).find("too deeply"), std::string::npos)
        << open;
  }
  EXPECT_NE(failure(repeated("{% if true %}", 10000)).find("nest deeper"), std::string::npos);
  EXPECT_NE(failure("{{ 1" + repeated(" + 1", 100000) + " }}").find("too deeply"),
            std::string::npos);
  EXPECT_NE(failure("{{ x" + repeated(".a", 100000) + " }}").find("too deeply"), std::string::npos);
  EXPECT_NE(failure(repeated("x", 10 << 20)).find("at most"), std::string::npos);
  EXPECT_EQ(failure(repeated("text {{ 1 }}", 100000)), "no failure");
  EXPECT_EQ(failure("{{ 'a'" + repeated(" ~ 'a'", 100000) + " }}"), "no failure");
  EXPECT_NE(failure("\xff{{ 1 }}").find("UTF-8"), std::string::npos);
}

// Objects that refer to each other in circles or in long chains end with the rendering.
TEST(JinjaLimits, CirclesAndChainsOfObjects) {
  EXPECT_EQ(failure("{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}"
                    "{% macro m() %}{{ m }}{% endmacro %}{% set a.m = m %}"
                    "{% for x in [1] %}{% set a.l = loop %}{{ loop.changed(loop) }}{% endfor %}"),
            "no failure");
  EXPECT_EQ(failure("{% set h = namespace(tail=namespace()) %}{% for i in range(50000) %}"
                    "{% set n = namespace() %}{% set t = h.tail %}{% set t.next = n %}"
                    "{% set h.tail = n %}{% endfor %}"),
            "no failure");
  EXPECT_NE(failure("{% set a = namespace() %}{% set a.a = a %}{{ a }}").find("too deeply"),
            std::string::npos);
  EXPECT_NE(failure("{% set ns = namespace(l=[]) %}{% for i in range(50000) %}"
                    "{% set ns.l = [ns.l] %}{% endfor %}")
                .find("nest deeper"),
            std::string::npos);
  EXPECT_NE(failure("{% set ns = namespace(l=[]) %}{% for i in range(50000) %}"
                    "{% set ns.l = ns.l|map('upper') %}{% endfor %}")
                .find("nest deeper"),
            std::string::npos);
}

TEST(Jinja, ErrorsSayWhoAndWhere) {
  EXPECT_EQ(failure("a\nb\n{{ missing.x }}"), "hostile: line 3: 'missing' is undefined");
  EXPECT_EQ(failure("{% if true %}\n{{ raise_exception('no ' ~ 'way') }}{% endif %}"),
            "hostile: line 2: no way");
  EXPECT_EQ(failure("\n{% include 'x' %}"),
            "hostile: line 2: the tag {% include %} is not supported in chat templates");
  EXPECT_EQ(failure("{{ 'a' + 1 }}"),
            "hostile: line 1: unsupported operand type(s) for +: 'str' and 'int'");
}

TEST(Jinja, RefusesInputThatIsNotWhatItMustBe) {
  const auto parsed = ChatTemplate::parse("{{ messages }}", "t");
  EXPECT_THROW(parsed.render(OrderedJson::object(), {}), Error);
  EXPECT_THROW(parsed.render(OrderedJson::array({1}), {}), Error);
  OrderedJson bad = OrderedJson::array();
  bad.push_back({{"role", "user"}, {"content", "\xff"}});
  EXPECT_THROW(parsed.render(bad, {}), Error);
  OrderedJson deep = 1;
  for (int i = 0; i < 1000; ++i) deep = OrderedJson::array({deep});
  EXPECT_THROW(parsed.render(OrderedJson::array({{{"content", deep}}}), {}), Error);
  const OrderedJson list = OrderedJson::array();
  RenderOptions options;
  options.variables = &list;
  EXPECT_THROW(parsed.render(list, options), Error);
}

}  // namespace
}  // namespace nibble
