#!/usr/bin/env bash
# transformers 5.24.0: a config that says tie_word_embeddings is not tied where the weights hold another lm_head.
#
# Guess:  "tie_word_embeddings": true makes one matrix of both, whatever the file holds (so did transformers 4), or else is an error.
# Seen:   the folder opens with two matrices and the file's own lm_head, with a warning in the log only; model.config still says
#         true. Another reader that follows the config alone computes other logits from the same folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0
"$folder/venv/bin/python" - "$folder/model" <<'PY'
import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

print("transformers", transformers.__version__)
torch.manual_seed(0)
small = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, tie_word_embeddings=False
)
LlamaForCausalLM(small).save_pretrained(sys.argv[1])
config = Path(sys.argv[1]) / "config.json"
config.write_text(json.dumps(json.loads(config.read_text()) | {"tie_word_embeddings": True}))
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
print("the config says tied:", model.config.tie_word_embeddings)
print("one matrix:", embedding is head or embedding.data_ptr() == head.data_ptr())
print("equal values:", torch.equal(embedding, head))
assert model.config.tie_word_embeddings is True
assert embedding.data_ptr() != head.data_ptr()
assert not torch.equal(embedding, head)
PY
