#!/usr/bin/env bash
# transformers 5.24.0: whether a whole number may stand where config.json wants a float differs from field to field.
#
# Guess:  JSON has one kind of number, and a writer other than Python's writes 1.0 as 1 and 4.0 as 4; both mean the same config.
# Seen:   LlamaConfig takes "rope_theta": 10000 and "attention_dropout": 0, and refuses "rms_norm_eps": 1; DeepseekV3Config refuses
#         "routed_scaling_factor": 1; Dinov2Config the other way round refuses "mlp_ratio": 4.0. The folder does not open.
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
cases = [  # with a point, without
    ("llama", "rope_theta", 10000, True, True),
    ("llama", "attention_dropout", 0, True, True),
    ("llama", "initializer_range", 1, True, False),
    ("llama", "rms_norm_eps", 1, True, False),
    ("deepseek_v3", "routed_scaling_factor", 1, True, False),
    ("dinov2", "mlp_ratio", 4, False, True),
]
for family, field, number, *taken in cases:
    for value, wanted in zip((float(number), number), taken):
        place = Path(sys.argv[1]) / "model"
        place.mkdir(exist_ok=True)
        (place / "config.json").write_text(json.dumps({"model_type": family, field: value}))
        try:
            AutoConfig.from_pretrained(place)
            says = "taken"
        except Exception as error:
            says = f"refused ({type(error).__name__})"
        print(f"{family} {field}: {value}: {says}")
        assert (says == "taken") is wanted
PY
