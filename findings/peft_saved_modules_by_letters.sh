#!/usr/bin/env bash
# peft 0.21.2: modules_to_save is matched by the letters at the end of a name, target_modules by its parts.
#
# Guess:  target_modules=["proj"] adapts no q_proj, since a name is matched from a dot on; modules_to_save=["norm"] follows the same
#         rule and lets the last norm of the network learn, model.norm.
# Seen:   target_modules=["proj"] finds nothing and is refused. modules_to_save=["norm"] also takes input_layernorm and
#         post_attention_layernorm of every layer: five modules learn and are saved in a model of two layers. The full name,
#         "model.norm", takes the one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 peft==0.21.2
"$folder/venv/bin/python" - <<'PY'
import peft
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

print("peft", peft.__version__)
sizes = dict(vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2)


def saved(name):
    config = LoraConfig(target_modules=["q_proj"], modules_to_save=[name])
    model = get_peft_model(LlamaForCausalLM(LlamaConfig(**sizes)), config)
    return sorted(
        name.split(".modules_to_save")[0].removeprefix("base_model.model.")
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and "modules_to_save" in name
    )


short, whole = saved("norm"), saved("model.norm")
print("norm:", *short)
print("model.norm:", *whole)
assert len(short) == 5 and "model.layers.0.input_layernorm" in short
assert whole == ["model.norm"]
try:
    get_peft_model(LlamaForCausalLM(LlamaConfig(**sizes)), LoraConfig(target_modules=["proj"]))
    raise SystemExit("target_modules takes ends of names, too")
except ValueError as error:
    print("target_modules=['proj']:", str(error)[:60])
PY
