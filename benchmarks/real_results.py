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

import numpy as np

from fledge.engine.engine import Engine
from fledge.hub.folder import load_model
from fledge.log_prob import Decoding
from fledge.sample.generate import generate
from fledge.score.verifier import Verifier
from fledge.tasks.named import draw_questions, load_task
from fledge.text.asking import encode_prompt
from real_model import find_model

HERE = Path(__file__).parent
TASK = HERE / "digits_task.py"
NEW_TOKENS = 24  # of an answer to a word problem
QUESTIONS = 300
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--work", type=Path, help="where the runs are kept; by default nowhere")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = given.work or Path(name)
        work.mkdir(exist_ok=True)
        for seed in given.seeds:
            began = time.perf_counter()
            result = PARTS[given.part](given.folder, work, seed, given.steps)
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
    """Of test questions, how many are answered rightly before and after, greedily; the difference
    with its 95% interval, question by question.
    """
    rows = sorted(
        (row for row in read_rows(data / "word-problems.jsonl.gz") if is_short(row)),
        key=lambda row: row["question"],
    )
    os.environ["WORD_PROBLEMS"] = str(write_rows(work / "words.jsonl", rows))
    before = work / "before.json"
    if not before.exists():  # the same for every seed
        before.write_text(json.dumps(answer_greedily(find_model())), encoding="utf-8")
    out = work / f"grpo{seed}"
    fledge(
        "align", base=find_model(), task=TASK, algorithm="grpo", steps=steps or 60,
        prompts_per_step=4, samples_per_prompt=8, max_new_tokens=NEW_TOKENS, temperature=0.7,
        cut_reward=0.2, generation="bf16", precision="fp32", compile="no", learning_rate=3e-4,
        warmup_steps=2, kl_coefficient=0.0, evaluation_prompts=16, seed=seed, out=out,
    )  # fmt: skip
    first, last = json.loads(before.read_text(encoding="utf-8")), answer_greedily(out)
    return compare(first, last) | {"reward": read_rewards(out)}


def answer_greedily(model: Path) -> list[Row]:
    """What a model answers to each of the test questions, and whether that is right: an answer that
    is cut off is none.
    """
    loaded, task = load_model(model), load_task(str(TASK))
    policy = loaded.policy().with_rule(Decoding(temperature=0))
    asked = draw_questions(task, "test", QUESTIONS)
    prompts = [encode_prompt(loaded.tokenizer, each.prompt) for each in asked]
    positions = max(map(len, prompts)) + NEW_TOKENS
    said = generate(
        policy, prompts, max_new_tokens=NEW_TOKENS, stop=loaded.tokenizer.ends,
        engine=Engine(policy, positions=positions, precision="bf16"),
    )  # fmt: skip
    texts = [loaded.tokenizer.decode(one.tokens) for one in said]
    right = Verifier(task)(asked, said, texts)["exact_match"]
    return [
        {"question": each.prompt, "said": text, "stopped": one.stopped, "right": bool(mark)}
        for each, text, one, mark in zip(asked, texts, said, right, strict=True)
    ]


def compare(before: list[Row], after: list[Row]) -> Row:
    """Shares that are right, their difference, and the percentiles of it over 10,000 draws of as
    many questions with replacement.
    """
    first, last = (np.array([row["right"] for row in side], float) for side in (before, after))
    draws = np.random.default_rng(0).integers(len(first), size=(10_000, len(first)))
    low, high = np.percentile((last - first)[draws].mean(1), [2.5, 97.5])
    return {
        "questions": len(first),
        "before": first.mean(),
        "after": last.mean(),
        "gain": (last - first).mean(),
        "gain_95": [low, high],
        "stopped": [sum(row["stopped"] for row in side) / len(side) for side in (before, after)],
        "different_answers": len({row["said"] for row in after}),
        "answers": [
            [one["question"], one["said"], other["said"], other["right"]]
            for one, other in zip(before[:6], after[:6], strict=True)
        ],
    }


def read_rewards(run: Path) -> list[float]:
    """The mean of every step's samples."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [line["reward"] for line in map(json.loads, lines) if "reward" in line]


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
