#!/usr/bin/env bash
# lm_eval 0.4.13: registering a model of one's own makes the harness forget all of its own.
#
# Guess:  register_model adds a name to those that simple_evaluate(model=...) knows.
# Seen:   it adds to a table that is filled only if it is empty when first asked. Register first, and "dummy", "hf" and the rest
#         are unknown: the error lists one's own name as the only one there is. Import lm_eval.models first (a class derived from
#         HFLM does so in passing), and all are there.
# Why it matters: a script that compares one's own model with "hf" runs or not by the class from which the own one derives.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HOME="$work/hf" HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check lm_eval==0.4.13
cat > "$work/run.py" <<'PY'
import json
import sys
from importlib.metadata import version
from pathlib import Path

import lm_eval
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

when, folder = sys.argv[1], Path(sys.argv[2])
if when == "after":
    import lm_eval.models  # noqa: F401


@register_model("mine")
class Mine(LM):
    def loglikelihood(self, requests):
        return [(-1.0, True) for _ in requests]

    loglikelihood_rolling = generate_until = loglikelihood


(folder / "rows.jsonl").write_text(json.dumps({"asked": "one", "told": "two"}) + "\n")
task = {
    "task": "one_row",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": str(folder / "rows.jsonl")},
    "test_split": "train",
    "output_type": "loglikelihood",
    "doc_to_text": "{{asked}}",
    "doc_to_target": " {{told}}",
}
print(f"lm_eval {version('lm_eval')}: registered {when} lm_eval.models was imported")
says = {}
for name in ("mine", "dummy"):
    try:
        lm_eval.simple_evaluate(model=name, tasks=[task], bootstrap_iters=0)
        says[name] = "measured"
    except ValueError as error:
        says[name] = str(error)
    print(f"  {name}: {says[name]}")
assert says["mine"] == "measured"
if when == "after":
    assert says["dummy"] == "measured"
else:
    assert says["dummy"].endswith("Supported model names: mine"), "it knows its own models now"
PY
for when in after before; do
    "$work/venv/bin/python" "$work/run.py" "$when" "$work" 2> "$work/log" || { tail -5 "$work/log"; exit 1; }
done
