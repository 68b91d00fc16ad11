#!/usr/bin/env bash
# peft 0.21.2 with transformers 5.24: `generate` of a model with virtual tokens does not say what its forward pass says.
#
# Guess:  greedy generation takes, at each step, the token to which the model's forward pass gives the largest logit.
# Seen:   with prefix tuning `generate` says what the base says: the prefix is never heard. With prompt tuning the first token is
#         the forward pass's and later ones are not, unless use_cache=False is given.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 peft==0.21.2
"$folder/venv/bin/python" -W ignore - <<'PY'
import peft
import torch
from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

print("peft", peft.__version__)
sizes = dict(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4)
row = torch.tensor([[4, 6, 7, 8, 5]])
asked = dict(
    input_ids=row, attention_mask=torch.ones_like(row), do_sample=False, max_new_tokens=8, eos_token_id=None, pad_token_id=0
)


def make(config=None):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**sizes, eos_token_id=None))
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, 0.5) if weight.ndim == 2 else None
        if config is not None:
            model = get_peft_model(model, config)
            for weight in model.prompt_encoder.parameters():
                weight.normal_()
    return model.eval()


def by_forward(model):
    said = row
    for _ in range(8):
        said = torch.cat([said, model(input_ids=said).logits[:, -1:].argmax(-1)], 1)
    return said[0, 5:].tolist()


base = make().generate(**asked)[0, 5:].tolist()
print("base           ", base)
for config in (PrefixTuningConfig, PromptTuningConfig):
    model = make(config(num_virtual_tokens=6, task_type="CAUSAL_LM"))
    forward, cached = by_forward(model), model.generate(**asked)[0, 5:].tolist()
    whole = model.generate(**asked, use_cache=False)[0, 5:].tolist()
    print(config.__name__, "forward", forward, "generate", cached, "use_cache=False", whole)
    assert forward != base and cached != forward
    assert cached == base if config is PrefixTuningConfig else whole == forward
PY
