#!/usr/bin/env bash
# transformers 5.24.0: once torch.distributed is begun, save_pretrained writes nothing in any process but the first, whatever it is told.
#
# Guess:  `save_pretrained(folder, is_main_process=True)` writes the model. The documents leave it to the caller to say which process
#         is the main one: "In this case, set `is_main_process=True` only on the main process to avoid race conditions".
# Seen:   the argument is and-ed with `rank == 0` (distributed/mixin.py, `should_save_on_this_rank`). In the other processes the call
#         makes an empty folder, says nothing and raises nothing, be the folder that process's own, and the path on another machine.
#         Before `init_process_group` the same call writes the model in each of them.
# Why it matters: who gives each process a folder of its own (a reference model, a scratch copy on a local disk, one expert a
#         process) reads it back later to "Unrecognized model": whether a line above began torch.distributed decides it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0
cat > "$work/run.py" <<'PY'
import os
import sys
from pathlib import Path

import torch.distributed as dist
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM

place, rank = Path(sys.argv[1]), int(os.environ["RANK"])
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
))


def save(name):
    """The files that are in a folder of this process's own after it has saved there."""
    own = place / f"{name} of process {rank}"
    model.save_pretrained(own, is_main_process=True)
    return own, sorted(path.name for path in own.iterdir())


before = save("before")[1]
dist.init_process_group("gloo")
own, after = save("after")
try:
    AutoConfig.from_pretrained(own)
    read = "it is read back"
except ValueError as error:
    read = str(error).split(" in /")[0]
dist.destroy_process_group()
print(f"process {rank}: before torch.distributed {before}, after {after}: {read}")
assert "model.safetensors" in before
assert ("model.safetensors" in after) == (rank == 0), "another behaviour than was seen"
PY
for rank in 0 1; do
    RANK=$rank WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29655 "$work/venv/bin/python" -W ignore "$work/run.py" "$work" \
        > "$work/said$rank" 2> "$work/log$rank" &
done
failed=0
for job in $(jobs -p); do wait "$job" || failed=1; done
cat "$work/said0" "$work/said1"
[ "$failed" = 0 ] || { tail -5 "$work/log0" "$work/log1"; exit 1; }
