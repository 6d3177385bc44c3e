#!/bin/sh
# make demo: the embedded model before and after QLoRA fine-tuning on this machine.
set -eu
cd "$(dirname "$0")/.."
nibble=build/nibble
question='Which animal lives with Ottilie Oakes?'

ask() {
  printf 'user:     %s\nassistant:' "$question"
  "$nibble" generate --model_name_or_path demo/model --prompt "$question" --max_new_tokens 40 "$@"
}

echo "== before: the base model knows the town of Brindle, but not how to answer"
ask
echo
echo "== fine-tuning on 1,456 questions about other people (demo/config.yaml)"
"$nibble" train --config demo/config.yaml --overwrite_output_dir true
echo
echo "== after: the same question, about somebody who is not in the training set"
ask --adapter build/demo-run/adapter
echo
echo "The adapter lies in build/demo-run/adapter; PEFT, vLLM and llama.cpp's converter read it."
