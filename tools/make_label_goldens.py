#!/usr/bin/env python3
"""Goldens for labels: ids and assistant mask of conversations, from transformers.

Chat templates of our own in the manner of the known families, each with {% generation %} tags, which
transformers needs to tell what is trained and Nibble does not look at. The tokenizer is demo/model's
with the control tokens of `TOKENS` added. Writes tests/goldens/data/labels.json.

Versions: transformers 5.23.0, tokenizers 0.23.3, jinja2 3.1.6.
"""
import json
from pathlib import Path

import jinja2
import tokenizers
import transformers
from transformers import PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/goldens/data/labels.json"

TOKENS = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
          "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<start_of_turn>", "<end_of_turn>",
          "[INST]", "[/INST]"]

TEMPLATES = {
    # role header, content, end, new line
    "chatml": """{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' %}{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}
{%- else %}{{ message.content + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}""",
    # start token, trimmed content
    "headers": """{{ bos_token }}{% for message in messages %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}
{%- if message.role == 'assistant' %}{% generation %}{{ message.content | trim + '<|eot_id|>' }}{% endgeneration %}
{%- else %}{{ message.content | trim + '<|eot_id|>' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}""",
    # the role is the token; a second end behind the last turn only
    "two_ends": """{% for message in messages %}{{ '<|' + message.role + '|>' }}
{%- if message.role == 'assistant' %}{% generation %}{{ message.content + '<|end|>' }}
{%- if loop.last %}{{ eos_token }}{% endif %}{% endgeneration %}
{%- else %}{{ message.content + '<|end|>' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}""",
    # the generation prompt is nothing
    "instruct": """{{ bos_token }}{% for message in messages %}
{%- if message.role == 'user' %}{{ '[INST] ' + message.content + ' [/INST]' }}
{%- elif message.role == 'assistant' %}{% generation %}{{ ' ' + message.content + eos_token }}{% endgeneration %}
{%- else %}{{ raise_exception('no such role here') }}{% endif %}{% endfor %}""",
    # the assistant has another name
    "turns": """{{ bos_token }}{% for message in messages %}
{%- if message.role == 'assistant' %}{{ '<start_of_turn>model\\n' }}{% generation %}{{ message.content | trim }}<end_of_turn>{% endgeneration %}
{%- else %}{{ '<start_of_turn>' + message.role + '\\n' + message.content | trim }}<end_of_turn>{% endif %}{{ '\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}""",
}


def talk(*turns):
    roles = {"u": "user", "a": "assistant", "s": "system"}
    return [{"role": roles[role], "content": text} for role, text in turns]


CONVERSATIONS = [
    talk(("u", "Where does Ines live?"), ("a", "Ines Jessop lives on Chapel Row.")),
    talk(("u", "Who is it?"), ("a", "Cosmo."), ("u", "And the goose?"), ("a", "Admiral.")),
    talk(("s", "Answer in one word."), ("u", "Pet?"), ("a", "Ferret.")),
    talk(("u", "  spaces  "), ("a", "  kept or\n\ntrimmed \n")),
    talk(("u", "Ünïcödé — naïve? 🦆"), ("a", "«Oui», 鴨と池 🦆🦆.")),
    talk(("u", "Say user or assistant."), ("a", "assistant\nuser\nassistant")),
    talk(("u", "a"), ("a", "b"), ("u", "c"), ("a", "d"), ("u", "e"), ("a", "f\n")),
]


def make_tokenizer():
    text = json.loads((ROOT / "demo/model/tokenizer.json").read_text())
    for i, token in enumerate(TOKENS):
        text["added_tokens"].append({"id": 1920 + i, "content": token, "single_word": False,
                                     "lstrip": False, "rstrip": False, "normalized": False,
                                     "special": True})
    return PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(text)),
                                   bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>")


def main():
    tokenizer = make_tokenizer()
    cases = []
    for name, template in TEMPLATES.items():
        for messages in CONVERSATIONS:
            try:
                got = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=True,
                                                    return_dict=True,
                                                    return_assistant_tokens_mask=True)
            except jinja2.TemplateError:
                continue
            cases.append({"template": name, "messages": messages, "ids": got["input_ids"],
                          "mask": got["assistant_masks"]})
    versions = {module.__name__: module.__version__ for module in (transformers, tokenizers, jinja2)}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"versions": versions, "tokens": TOKENS, "templates": TEMPLATES,
                               "cases": cases}, ensure_ascii=False, indent=None) + "\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
