"""Evaluation beside lm-evaluation-harness' `hf` model: questions a second of ARC-Easy by likelihood
and of GSM8K in words, and whether the answers are the same row by row.

One model, SmolLM2-135M-Instruct, in one folder that both read, in fp32. A side is timed from the
questions to the answers, its model being there. lm-evaluation-harness may have an interpreter of
its own: `--peer PYTHON`; of more than 64 answers it says the first 64 in small and in large batches
before, and all in those that were faster. `--kind gsm8k` leaves ARC-Easy out. What a judge in a
process costs is told by benchmarks/judge_process.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from side_by_side import finish, say, table

ARC, GSM8K, NEW = 100, 16, 128  # questions, and tokens of an answer
BATCHES, TRIED = (16, 64), 64  # of lm-evaluation-harness, and on how many questions they are tried
AIM_ARC, AIM_GSM8K = 2.0, 3.0
TASK = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: {kind}
{fields}
"""
CHOICE = r"""doc_to_text: "Question: {{question}}\nAnswer:"
doc_to_target: "{{choices.label.index(answerKey)}}"
doc_to_choice: "{{choices.text}}"
metric_list:
  - metric: acc
"""
WORDS = r"""doc_to_text: "Question: {{question}}\nAnswer:"
doc_to_target: "{{answer}}"
generation_kwargs:
  until: ["Question:", "</s>", "<|im_end|>"]
  do_sample: false
  temperature: 0.0
  max_gen_toks: NEW
metric_list:
  - metric: exact_match
"""


def main() -> None:
    given = read_words()
    if given.side:
        print("\n" + json.dumps(ask_side(given)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_inputs(given, folder)
        told: dict[tuple[str, str], dict[str, Any]] = {}
        for kind, rounds in (("arc", 1 if given.quick else 2), ("gsm8k", 1)):
            if given.kind not in (None, kind):
                continue
            for side in ("fledge", "peer") * rounds:
                one = ask_child(given, folder, side, kind)
                before = told.get((side, kind), one)
                faster = one.get("seconds", 0) < before.get("seconds", 0)
                told[side, kind] = one if faster else before  # the better of its rounds
                say(f"{kind}, {side}: {one.get('error') or round(one['seconds'], 1)}")
    compare(given, told)


def read_words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, help="SmolLM2's .gguf, or a model folder")
    parser.add_argument("--arc", type=Path, help="rows of ARC-Easy, in a file that fledge reads")
    parser.add_argument("--gsm8k", type=Path, help="rows of GSM8K")
    parser.add_argument("--peer", default=sys.executable, help="the interpreter that has lm_eval")
    parser.add_argument("--questions", type=int, default=ARC)
    parser.add_argument("--answers", type=int, default=GSM8K)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", choices=("fledge", "peer"), help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=("arc", "gsm8k"), help="one of the two alone")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    missing = [each for each in ("base", "arc", "gsm8k") if getattr(given, each) is None]
    if missing and not given.side:
        parser.error(f"what is asked is in files of yours: give --{', --'.join(missing)}")
    if given.quick:
        given.questions, given.answers = min(given.questions, 16), min(given.answers, 2)
    return given


def write_inputs(given: argparse.Namespace, folder: Path) -> None:
    """The model as a folder of Hugging Face's, the rows and the harness' own tasks."""
    from fledge.evaluate.suites.rows import read_rows
    from fledge.evaluate.suites.suite import open_suite
    from fledge.hub.folder import load_model

    load_model(given.base).save(folder / "model")
    arc = open_suite("arc_easy", given.arc, questions=given.questions).questions
    rows: list[dict[str, Any]] = []
    for question in arc:
        letters = list("ABCDEF")[: len(question.choices)]
        choices = {"text": list(question.choices), "label": letters}
        answer = letters[question.right]
        rows.append({"question": question.text, "choices": choices, "answerKey": answer})
    gsm8k = [row for _, row in read_rows(given.gsm8k)][: given.answers]
    for name, several in (("arc", rows), ("gsm8k", gsm8k)):
        text = "".join(json.dumps(row) + "\n" for row in several)
        (folder / f"{name}.jsonl").write_text(text)
    tasks = {"arc": ("multiple_choice", CHOICE), "gsm8k": ("generate_until", WORDS)}
    for name, (kind, fields) in tasks.items():
        said = TASK.format(name=f"local_{name}", file=folder / f"{name}.jsonl", kind=kind,
                           fields=fields.replace("NEW", str(NEW)))  # fmt: skip
        (folder / f"{name}.yaml").write_text(said)


def ask_child(given: argparse.Namespace, folder: Path, side: str, kind: str) -> dict[str, Any]:
    python = given.peer if side == "peer" else sys.executable
    words = [python, __file__, "--side", side, "--kind", kind, "--folder", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ})
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:300]}
    return json.loads(done.stdout.strip().splitlines()[-1])


class Clock:
    """Seconds on the clock, and of the processor, which do not count what else the machine does."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        now = time.perf_counter(), time.process_time()
        names = ("seconds", "processor_seconds")
        return {n: b - a for n, a, b in zip(names, self._began, now, strict=True)}


def ask_side(given: argparse.Namespace) -> dict[str, Any]:
    return (ask_fledge if given.side == "fledge" else ask_peer)(given.folder, given.kind)


def ask_fledge(folder: Path, kind: str) -> dict[str, Any]:
    from fledge.evaluate.suites.answering import answer
    from fledge.evaluate.suites.answers import judge_gsm8k
    from fledge.evaluate.suites.choosing import choose
    from fledge.evaluate.suites.suite import open_suite
    from fledge.hub.folder import load_model
    from fledge.log_prob import Decoding

    model = load_model(folder / "model")
    name = "arc_easy" if kind == "arc" else "gsm8k"
    asked = open_suite(name, folder / f"{kind}.jsonl")
    clock = Clock()
    if kind == "arc":
        chosen = choose(model.policy(), model.tokenizer, asked.questions, asked.before, pmi=False)
        seconds = clock.read()
        pairs = zip(chosen, asked.questions, strict=True)
        right = [float(c.answer("raw") == q.right) for c, q in pairs]
        return {**seconds, "right": right, "said": [c.nats for c in chosen]}
    said = answer(
        model.policy(), model.tokenizer, asked.questions, asked.before,
        max_new_tokens=NEW, rule=Decoding(0),
    )  # fmt: skip
    seconds = clock.read()
    texts = [each[0].text for each in said]
    right = [float(mark.right) for mark in judge_gsm8k(asked.questions, texts)]
    return {**seconds, "right": right, "said": texts}


def ask_peer(folder: Path, kind: str) -> dict[str, Any]:
    import lm_eval  # pyright: ignore[reportMissingImports]
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    model = HFLM(pretrained=str(folder / "model"), device="cpu", dtype="float32", batch_size=16)
    seconds = {"seconds": 0.0, "processor_seconds": 0.0}
    for name in ("loglikelihood", "generate_until"):
        plain = getattr(model, name)

        def timed(requests: Any, *more: Any, plain: Any = plain, **fields: Any) -> Any:
            clock = Clock()
            answers = plain(requests, *more, **fields)
            seconds.update({key: seconds[key] + value for key, value in clock.read().items()})
            return answers

        setattr(model, name, timed)
    manager = TaskManager(include_path=str(folder))

    def ask(limit: int | None = None) -> Any:
        seconds.update(dict.fromkeys(seconds, 0.0))
        return lm_eval.simple_evaluate(
            model=model, tasks=[f"local_{kind}"], log_samples=True, bootstrap_iters=0,
            task_manager=manager, limit=limit,
        )  # fmt: skip

    if kind == "gsm8k" and len((folder / "gsm8k.jsonl").read_text().splitlines()) > TRIED:
        tried: dict[int, float] = {}
        for batch in BATCHES:
            model.batch_size_per_gpu = batch
            ask(TRIED)
            tried[batch] = seconds["seconds"]
            say(f"the first {TRIED} in batches of {batch}: {round(tried[batch], 1)}")
        model.batch_size_per_gpu = min(tried, key=lambda batch: tried[batch])
    told = ask()
    rows = sorted(told["samples"][f"local_{kind}"], key=lambda row: row["doc_id"])
    if kind == "arc":
        said = [[float(one[0][0]) for one in row["resps"]] for row in rows]
        return {**seconds, "right": [row["acc"] for row in rows], "said": said}
    from fledge.evaluate.suites.answers import judge_gsm8k
    from fledge.evaluate.suites.suite import open_suite

    texts = [row["resps"][0][0] for row in rows]
    asked = open_suite("gsm8k", folder / "gsm8k.jsonl")
    right = [float(mark.right) for mark in judge_gsm8k(asked.questions, texts)]
    return {**seconds, "right": right, "said": texts, "batch": model.batch_size_per_gpu}


def compare(given: argparse.Namespace, told: dict[tuple[str, str], dict[str, Any]]) -> None:
    aims: list[dict[str, Any]] = []
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    rows: list[tuple[str, ...]] = []
    for kind, aim in (("arc", AIM_ARC), ("gsm8k", AIM_GSM8K)):
        if ("peer", kind) not in told:
            continue
        ours, theirs = told["fledge", kind], told["peer", kind]
        name = f"{kind}: questions a second beside lm-eval hf"
        wrong = ours.get("error") or theirs.get("error")
        if wrong:
            aims.append({"name": name, "figure": wrong, "aim": f"≥ {aim:g}", "holds": False})
            continue
        number = len(ours["right"])
        ratios[name] = theirs["seconds"] / ours["seconds"]
        same = sum(a == b for a, b in zip(ours["right"], theirs["right"], strict=True))
        figures[kind] = {
            "questions": number,
            "fledge questions/s": number / ours["seconds"],
            "lm-eval questions/s": number / theirs["seconds"],
            "ratio of processor seconds": theirs["processor_seconds"] / ours["processor_seconds"],
            "fledge right": sum(ours["right"]),
            "lm-eval right": sum(theirs["right"]),
            "rows judged alike": same,
        }
        if kind == "arc":
            pairs = zip(ours["said"], theirs["said"], strict=True)
            figures[kind]["largest difference, nats"] = max(
                abs(a - b) for x, y in pairs for a, b in zip(x, y, strict=True)
            )
        else:
            texts = zip(ours["said"], theirs["said"], strict=True)
            figures[kind]["lm-eval in batches of"] = theirs["batch"]
            figures[kind]["texts alike"] = sum(a.strip() == b.strip() for a, b in texts)
        rows.append(
            (kind, f"{number / ours['seconds']:.2f}", f"{number / theirs['seconds']:.2f}",
             f"{ratios[name]:.2f}", f"{figures[kind]['ratio of processor seconds']:.2f}",
             f"{same} of {number}")
        )  # fmt: skip
        aims.append(
            {"name": name, "figure": ratios[name], "aim": f"≥ {aim:g}",
             "holds": ratios[name] >= aim}
        )  # fmt: skip
        aims.append(
            {"name": f"{kind}: rows judged alike", "figure": same, "aim": f"= {number}",
             "holds": same == number}
        )  # fmt: skip
    heads = ("questions/s", "fledge", "lm-eval hf", "ratio", "of processor seconds", "judged alike")
    finish(given.json, table(heads, rows), ratios, figures, {}, aims=aims)


if __name__ == "__main__":
    main()
