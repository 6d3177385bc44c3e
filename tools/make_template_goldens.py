#!/usr/bin/env python3
"""Makes tests/goldens/text/jinja/: what jinja2, set up as transformers does it, renders.

    python3 tools/make_template_goldens.py [folder of real data]

Reads, from that folder of goldens
  snippets.txt         small templates, one a line ("⏎" is a line break), over the variables below
  families/*.jinja     chat templates of our own, in the style of known families
  conversations.json   conversations of our own: messages, and perhaps tools, documents, variables
and writes
  snippets.golden.json   [template, text], or [template] where jinja2 raises
  families.golden.json   by template: each conversation without and with generation prompt, as
                         [text, bytes inside {% generation %}], or null where jinja2 raises
  reasoning.golden.json  [template, messages, text], or [template, messages] where jinja2 raises:
                         what transformers makes of a message's reasoning, by its names
  corpus.golden.tsv      the same for the templates of the real data (which are never committed), as
                         hashes: SHA-256 of the template, then 16 hex digits of the SHA-256 of each
                         text ("-" where jinja2 raises), with 8 more of the generated ranges where
                         the template has any

A rendering that shows an address of Python's memory counts as raising, and so does one that UTF-8
cannot hold. The clock stands at 2025-07-10 12:00. Made with transformers 5.23.0, jinja2 3.1.6 and
markupsafe 3.0.4 on Python 3.11.
"""
import datetime
import hashlib
import json
import pathlib
import re
import sys

from transformers.utils import chat_template_utils

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "goldens" / "text" / "jinja"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
SNIPPET_VARIABLES = {
    "n": 42,
    "neg": -7,
    "pi": 3.14159,
    "big": 9007199254740993,
    "yes": True,
    "no": False,
    "nothing": None,
    "empty": "",
    "s": "Hello World",
    "u": "Grüße, Ωmega ß ΑΣ",
    "sp": " \u00a0\u3000 padded\u2028 \x1c",
    "lines": "one\ntwo\r\n\nthree\n",
    "html": "<b>\"x\" & 'y'</b>",
    "xs": [3, 1, 2],
    "words": ["banana", "Apple", "cherry", "apple"],
    "mixed": [1, "two", None, 3.5, True, [1], {"a": 1}],
    "d": {"b": 1, "a": 2, "C": 3},
    "nested": {"x": {"y": [{"z": "deep"}]}, "items": "shadowed", "_hidden": "seen"},
    "people": [
        {"name": "Ann", "age": 31, "city": "Bern"},
        {"name": "bob", "age": 25, "city": "basel", "nick": "b"},
        {"name": "Cyd", "age": 31, "city": "Bern", "nick": ""},
    ],
    "tree": [{"v": 1, "kids": [{"v": 2, "kids": []}, {"v": 3, "kids": [{"v": 4, "kids": []}]}]}],
    "floats": [0.1, 1e-7, 1e22, -0.0, 1.5e300, 123456789.123, 1e16, 9999999999999998.0, 5e-324],
}


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2025, 7, 10, 12, 0, 0)


chat_template_utils.datetime = Clock


def render(template, variables):
    """(text, ranges of bytes inside {% generation %}), or None where jinja2 raises."""
    try:
        compiled = chat_template_utils._compile_jinja_template(template)
        variables = {"tools": None, "documents": None, **variables}
        variables.setdefault("messages", [])
        variables.setdefault("add_generation_prompt", False)
        text, ranges = chat_template_utils._render_with_assistant_indices(compiled, **variables)
        if re.search(r" at 0x[0-9a-f]{6,}", text, re.IGNORECASE):
            return None
        text.encode()
    except Exception:
        return None
    merged = []
    for start, end in sorted(ranges):
        start, end = (len(text[:at].encode()) for at in (start, end))
        if merged and merged[-1][1] == start:
            merged[-1][1] = end
        elif start < end:
            merged.append([start, end])
    return text, merged


def conversations():
    with open(OUT / "conversations.json", encoding="utf-8") as file:
        return json.load(file)


def render_all(template):
    for case in conversations():
        for prompt in (False, True):
            variables = {**TOKENS, **case.get("variables", {})}
            for key in ("messages", "tools", "documents"):
                if key in case:
                    variables[key] = case[key]
            yield render(template, {**variables, "add_generation_prompt": prompt})


def write_json(name, value):
    # One case a line, so that differences can be read.
    lines = ",\n".join(json.dumps(item, ensure_ascii=False) for item in value)
    (OUT / name).write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def make_snippets():
    cases = []
    for line in (OUT / "snippets.txt").read_text(encoding="utf-8").split("\n"):
        if not line or line.startswith("##"):
            continue
        template = line.replace("⏎", "\n").replace("␍", "\r")
        result = render(template, SNIPPET_VARIABLES)
        cases.append([template] if result is None else [template, result[0]])
    write_json("snippets.golden.json", [SNIPPET_VARIABLES, *cases])
    raising = sum(len(case) == 1 for case in cases)
    print(f"snippets: {len(cases)}, of which {raising} raise")


def make_families():
    cases = []
    for path in sorted((OUT / "families").glob("*.jinja")):
        template = path.read_bytes().decode()
        cases.append([path.name, [None if r is None else list(r) for r in render_all(template)]])
    write_json("families.golden.json", cases)
    print(f"families: {len(cases)}")


# A message's reasoning under each name that transformers knows, and under several.
REASONING = [
    {"reasoning_content": "r"},
    {"thinking": "t"},
    {"reasoning": "s"},
    {"thinking": "t", "reasoning_content": "r"},
    {"reasoning": "s", "thinking": "t"},
    {"reasoning": "s", "reasoning_content": "r"},
    {"reasoning": "s", "thinking": "t", "reasoning_content": "r"},
    {"reasoning_content": None, "thinking": "t"},
    {"thinking": None, "reasoning_content": "r"},
    {"thinking": None, "reasoning": "s"},
    {"reasoning_content": None, "thinking": None},
    {"reasoning_content": "", "thinking": "t"},
    {"thinking": ["a", {"text": "b"}]},
    {"reasoning": False},
    {},
]
REASONING_TEMPLATES = [
    "{% for m in messages %}{{ m | tojson }}{% endfor %}",
    "{% for m in messages %}{{ m.keys() | list }}{% endfor %}",
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% if m.thinking %}<t>{{ m.thinking }}{% endif %}{% endfor %}",
    "{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content is string %}<think>"
    "{{ m.reasoning_content.strip('\n') }}</think>{% endif %}{{ m.content }}{% endfor %}",
    "{% for m in messages %}{% if m.reasoning is defined %}{{ m.reasoning }}{% endif %}"
    "{% if m.thinking is defined and m.reasoning_content is defined and m.thinking != "
    "m.reasoning_content %}{{ raise_exception('two') }}{% endif %}{% endfor %}",
]


def make_reasoning():
    cases = []
    for template in REASONING_TEMPLATES:
        for fields in REASONING:
            for front in (False, True):
                answer = {"role": "assistant", "content": "a"}
                answer = {**fields, **answer} if front else {**answer, **fields}
                messages = [{"role": "user", "content": "u", "thinking": "of me"}, answer]
                try:
                    texts, _ = chat_template_utils.render_jinja_template(
                        [messages], chat_template=template
                    )
                    cases.append([template, messages, texts[0]])
                except Exception:
                    cases.append([template, messages])
    write_json("reasoning.golden.json", cases)
    print(f"reasoning: {len(cases)}, of which {sum(len(case) == 2 for case in cases)} raise")


def corpus(data):
    """The templates of the real data, each once."""
    templates = []
    for path in sorted((data / "chat-templates").glob("*/*.jinja")):
        templates.append(path.read_bytes().decode())
    vectors = json.loads((data / "chat-templates/hf-jinja/e2e_vectors.json").read_bytes())
    more = json.loads((data / "chat-templates/llama.cpp-vectors/test-chat-template.json").read_bytes())
    templates += list(find_templates(vectors)) + list(find_templates(more))
    for path in sorted((data / "models").glob("*/tokenizer_config.json")):
        templates += list(find_templates(json.loads(path.read_bytes())))
    return list(dict.fromkeys(templates))


def find_templates(value, key=None):
    if isinstance(value, str):
        if key in ("chat_template", "template") and "{" in value:
            yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from find_templates(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from find_templates(item, key)


def short_hash(text, digits):
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def make_corpus(data):
    rows, rendered, raised = [], 0, 0
    for template in corpus(data):
        cells = []
        has_generation = re.search(r"\{%[-+]?\s*generation", template)
        for result in render_all(template):
            rendered += result is not None
            raised += result is None
            cell = "-" if result is None else short_hash(result[0], 16)
            if result is not None and has_generation:
                cell += short_hash(json.dumps(result[1], separators=(",", ":")), 8)
            cells.append(cell)
        rows.append("\t".join([hashlib.sha256(template.encode()).hexdigest(), *cells]))
    (OUT / "corpus.golden.tsv").write_text("\n".join(sorted(rows)) + "\n")
    print(f"corpus: {len(rows)} templates, {rendered} renderings, {raised} raise")


if __name__ == "__main__":
    make_snippets()
    make_families()
    make_reasoning()
    if len(sys.argv) > 1:
        make_corpus(pathlib.Path(sys.argv[1]))
