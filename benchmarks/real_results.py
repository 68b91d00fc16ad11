"""What a run on SmolLM2-135M-Instruct comes to, each part once a seed: no speed, results.

  python benchmarks/real_results.py dpo FOLDER    pairs it has not seen, preferred rightly
  python benchmarks/real_results.py grpo FOLDER   word problems it has not seen, answered rightly
  python benchmarks/real_results.py lora FOLDER   nats a token of rows it has not seen, beside PEFT

FOLDER holds the data: rasbt-preference.jsonl.gz (instruction, input, chosen, rejected),
word-problems.jsonl.gz (question, answer) and alpaca-en-demo.jsonl.gz (instruction, input, output),
which are public; see docs/real-models.md. Prints one JSON object a seed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from real_model import find_model

HERE = Path(__file__).parent
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        for seed in given.seeds:
            began = time.perf_counter()
            result = PARTS[given.part](given.folder, Path(work), seed, given.steps)
            taken = round(time.perf_counter() - began)
            print(json.dumps({"part": given.part, "seed": seed, "s": taken, **result}), flush=True)


def dpo(data: Path, work: Path, seed: int, steps: int | None) -> Row:
    """Accuracy: of the test pairs, how many the policy prefers rightly, by DPO's own reward."""
    file = write_rows(
        work / "pairs.jsonl",
        (
            {"prompt": ask(row), "chosen": row["chosen"], "rejected": row["rejected"]}
            for row in read_rows(data / "rasbt-preference.jsonl.gz")
        ),
    )
    return fledge(
        "prefer", base=find_model(), data=file, algorithm="dpo", bad_rows="skip", seed=seed,
        steps=steps or 60, pairs_per_step=8, learning_rate=3e-4, warmup_steps=10,
        out=work / f"dpo{seed}",
    )  # fmt: skip


def grpo(data: Path, work: Path, seed: int, steps: int | None) -> Row:
    """Exact match on the test prompts, before and after, greedily answered."""
    file = write_rows(
        work / "words.jsonl", sorted(
            (row for row in read_rows(data / "word-problems.jsonl.gz") if is_short(row)),
            key=lambda row: row["question"],
        ),
    )  # fmt: skip
    os.environ["WORD_PROBLEMS"] = str(file)
    common = {"task": HERE / "digits_task.py", "max_new_tokens": 48, "seed": seed}
    asked = {**common, "prompts": 200}
    before = fledge("evaluate", base=find_model(), **asked)
    out = work / f"grpo{seed}"
    fledge(
        "align", base=find_model(), algorithm="grpo", steps=steps or 60, prompts_per_step=8,
        samples_per_prompt=8, generation="bf16", precision="bf16", compile="no",
        learning_rate=2e-4, warmup_steps=5, kl_coefficient=0.0, evaluation_prompts=64, out=out,
        **common,
    )  # fmt: skip
    return {"before": before, "after": fledge("evaluate", base=out, **asked)}


def lora(data: Path, work: Path, seed: int, steps: int | None) -> Row:
    """Nats a token of the answers of 99 rows, by transformers for both sides."""
    rows = [
        {"prompt": ask(row), "completion": row["output"]}
        for row in read_rows(data / "alpaca-en-demo.jsonl.gz")
    ]
    learnt = write_rows(work / "learn.jsonl", rows[:900])
    held = write_rows(work / "held.jsonl", rows[900:])
    given: Row = {"steps": steps or 40, "seed": seed, "held": str(held), "learn": str(learnt)}
    source, out = work / "source", work / f"lora{seed}"
    if not source.exists():
        fledge("export", run=find_model(), format="hf", out=source)
    fledge(
        "tune", base=source, data=learnt, adapter="lora", truncate="right", steps=given["steps"],
        rows_per_step=16, learning_rate=2e-4, warmup_steps=10, seed=seed, out=out,
    )  # fmt: skip
    machine = json.loads((out / "machine.json").read_text(encoding="utf-8"))
    given |= {"source": str(source), "adapter": str(out / "model")}
    given["precision"] = machine["precision"]
    command = [sys.executable, str(HERE / "peft_lora.py"), json.dumps(given)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


PARTS = {"dpo": dpo, "grpo": grpo, "lora": lora}


def ask(row: Mapping[str, str]) -> str:
    return "\n\n".join(part for part in (row["instruction"], row.get("input")) if part)


def is_short(row: Mapping[str, str]) -> bool:
    return len(row["question"]) <= 200 and float(row["answer"]).is_integer()


def read_rows(file: Path) -> list[Row]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_rows(file: Path, rows: Iterable[Row]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def fledge(verb: str, **fields: object) -> Row:
    """What the verb's one JSON object says."""
    words = [f"{name}={value}" for name, value in fields.items()]
    done = subprocess.run(
        [sys.executable, "-m", "fledge", verb, *words, "--json"],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
