#!/usr/bin/env bash
# transformers 5.24.0: whether a whole number may stand where config.json wants a float differs from field to field.
#
# Guess:  JSON has one kind of number, and a writer other than Python's writes 1.0 as 1 and 4.0 as 4; both mean the same config.
# Seen:   LlamaConfig takes "rope_theta": 10000 and "attention_dropout": 0, and refuses "rms_norm_eps": 1; DeepseekV3Config refuses
#         "routed_scaling_factor": 1, Dinov2Config takes "mlp_ratio": 4 but refuses "layer_norm_eps": 1. The folder does not open.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0
"$folder/venv/bin/python" - "$folder" <<'PY'
import json
import sys
from pathlib import Path

import transformers
from transformers import AutoConfig

print("transformers", transformers.__version__)
cases = [
    ("llama", {"rope_theta": 10000}, True),
    ("llama", {"attention_dropout": 0}, True),
    ("llama", {"initializer_range": 1}, False),
    ("llama", {"rms_norm_eps": 1}, False),
    ("deepseek_v3", {"routed_scaling_factor": 1}, False),
    ("dinov2", {"mlp_ratio": 4}, True),
]
for family, fields, taken in cases:
    for numbers in ({name: float(value) for name, value in fields.items()}, fields):
        place = Path(sys.argv[1]) / "model"
        place.mkdir(exist_ok=True)
        (place / "config.json").write_text(json.dumps({"model_type": family} | numbers))
        try:
            AutoConfig.from_pretrained(place)
            says = "taken"
        except Exception as error:
            says = f"refused ({type(error).__name__})"
        print(f"{family} {json.dumps(numbers)}: {says}")
        whole = numbers is fields
        assert (says == "taken") is (taken or not whole)
PY
