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
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from fledge.engine.engine import Engine
from fledge.hub.folder import load_model
from fledge.log_prob import Decoding
from fledge.sample.generate import generate
from fledge.score.verifier import Verifier
from fledge.splits import SPLITS
from fledge.tasks.named import draw_questions, load_task
from fledge.text.asking import encode_prompt
from real_model import find_model

HERE = Path(__file__).parent
TASK = HERE / "digits_task.py"
NEW_TOKENS = 32  # of an answer to a word problem
HIGHEST = 20  # number in one
HELD = 200  # of them that no run sees
CURVES = ("reward", "stop_rate", "entropy", "zero_spread_groups")
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
    """Of questions that no run has seen, how many are answered rightly before and after, greedily;
    the difference with its 95% interval, question by question.
    """
    rows = list_easy(read_rows(data / "word-problems.jsonl.gz"))
    held = write_rows(work / "held.jsonl", rows[:HELD])
    learn = write_rows(work / "learn.jsonl", rows[HELD:])
    before = work / "before.json"
    if not before.exists():  # the same for every seed
        before.write_text(json.dumps(answer_greedily(find_model(), held)), encoding="utf-8")
    out = work / f"grpo{seed}"
    os.environ["WORD_PROBLEMS"] = str(learn)
    fledge(
        "align", base=find_model(), task=TASK, algorithm="grpo", steps=steps or 30,
        prompts_per_step=4, samples_per_prompt=8, max_new_tokens=NEW_TOKENS, temperature=0.5,
        generation="bf16", precision="fp32", compile="no", learning_rate=3e-4,
        schedule="constant", warmup_steps=2, kl_coefficient=0.0, evaluation_prompts=16,
        seed=seed, out=out,
    )  # fmt: skip
    first, last = json.loads(before.read_text(encoding="utf-8")), answer_greedily(out, held)
    return compare(first, last) | {"questions to learn from": len(rows) - HELD} | read_curves(out)


def list_easy(rows: Iterable[Row]) -> list[Row]:
    """Each question once, however it is spelt, in an order that its letters alone decide."""
    easy = {re.sub(r"\W", "", row["question"].lower()): row for row in rows if is_easy(row)}
    return [easy[key] for key in sorted(easy, key=lambda key: sha256(key.encode()).digest())]


def is_easy(row: Row) -> bool:
    """Two whole numbers of at most HIGHEST, and an answer that may be their sum.

    Of all the questions SmolLM2 has half as many right, and of what is never right nothing is
    learned.
    """
    numbers = [float(word) for word in re.findall(r"\d+(?:\.\d+)?", row["question"])]
    answer = float(row["answer"])
    whole = all(number.is_integer() for number in (*numbers, answer))
    small = max([*numbers, answer / 2]) <= HIGHEST
    return whole and small and len(numbers) == 2 and len(row["question"]) <= 200


def answer_greedily(model: Path, questions: Path) -> list[Row]:
    """What a model answers to each of the questions, and whether that is right: an answer that is
    cut off is none.
    """
    os.environ["WORD_PROBLEMS"] = str(questions)
    loaded, task = load_model(model), load_task(str(TASK))
    policy = loaded.policy().with_rule(Decoding(temperature=0))
    asked = [each for split in SPLITS for each in draw_questions(task, split, HELD)]
    prompts = [encode_prompt(loaded.tokenizer, each.prompt) for each in asked]
    positions = max(map(len, prompts)) + NEW_TOKENS
    said = generate(
        policy, prompts, max_new_tokens=NEW_TOKENS, stop=loaded.tokenizer.ends,
        engine=Engine(policy, slots=32, positions=positions, precision="bf16"),
    )  # fmt: skip
    texts = [loaded.tokenizer.decode(one.tokens) for one in said]
    marks = Verifier(task)(asked, said, texts)
    return [
        {
            "question": each.prompt, "said": text, "stopped": one.stopped, "right": bool(mark),
            "number": bool(reward),  # right, cut off or not
        }
        for each, text, one, mark, reward in zip(
            asked, texts, said, marks["exact_match"], marks["reward"], strict=True
        )
    ]  # fmt: skip


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
        **{
            name: [sum(row[name] for row in side) / len(side) for side in (before, after)]
            for name in ("stopped", "number")
        },
        "different_answers": len({row["said"] for row in after}),
        "answers": [
            [one["question"], one["said"], other["said"], other["right"]]
            for one, other in zip(before[:6], after[:6], strict=True)
        ],
    }


def read_curves(run: Path) -> dict[str, list[float]]:
    """By step: the mean reward of its samples, the share of them that came to an end, their entropy
    in nats a token, and the share of questions whose answers earned all the same.
    """
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [line for line in map(json.loads, lines) if "reward" in line]
    return {name: [step[name] for step in steps] for name in CURVES}


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
