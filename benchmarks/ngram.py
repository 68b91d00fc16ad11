"""N-gram models of order 5: counting, asking and memory, ours beside KenLM and NLTK.

Asking: log-probabilities of a held-out text, from Python, each side from what it takes (KenLM
sentences of words, ours rows of numbers). KenLM has the model that ours wrote as ARPA, in its
probing table, which is its fastest. Counting: ours beside NLTK's KneserNeyInterpolated on the first
part of the text, which NLTK counts in one pass and then computes at every question. Memory: of the
model in a process of its own, what reading it added.

The text is --data, a .txt file, or by default the prose of this Python installation; words are what
stands between white space, with those that came once as one word.

--grams N alone: a model of N n-grams of made-up counts, as a model folder that is written, read
again and asked, and what each of them takes of memory and of the disk.
"""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fledge.algorithms.likelihood.smoothing import kneser_ney
from fledge.hub.arpa import BEGIN, END, spell, write_arpa
from fledge.hub.folder import save_model
from fledge.models.language.ngram import Ngram, Order
from fledge.models.language.ngram_network import NgramConfig, NgramNetwork
from fledge.text.ngram_counts import WORD_BITS, Ints
from fledge.text.ngram_passes import count_ngrams
from fledge.text.python_prose import python_prose
from fledge.text.tokenizer import train_tokenizer
from side_by_side import alternate, finish, judge, options, say, seconds, speed_up, table

ORDER = 5
SMALL = 2_000  # lines that NLTK counts: it takes minutes for more
RESIDENT = """
import sys
def read():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS"))
import numpy, kenlm
before = read()
if sys.argv[1].endswith(".npz"):
    held = {name: a for name, a in numpy.load(sys.argv[1]).items()}
else:
    held = kenlm.Model(sys.argv[1])
print((read() - before) * 1024)
"""

LARGE = """
import sys, time
from pathlib import Path
def read():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS"))
import numpy as np
from fledge.hub.folder import load_model
before = read()
model = load_model(Path(sys.argv[1])).network.model
grown = (read() - before) * 1024
rows = np.random.default_rng(1).integers(3, model.vocab_size, 2**18)
# Half of them are what the model has: the words that it counts up behind a beginning.
rows[::2] = 3 + rows[::2] % 40
began = time.perf_counter()
assert np.isfinite(model.log_prob(rows)).all()
print(grown, len(rows) / (time.perf_counter() - began))
"""


def main() -> None:
    given = options(
        __doc__, data="a .txt file in place of the prose of this installation",
        grams="how many n-grams of made-up counts, in place of all else",
    )  # fmt: skip
    if given.grams:
        measure_large(int(float(given.grams)), given.json)
        return
    lines = read_lines(given.data)[: 500 if given.quick else None]
    count = Counter(word for line in lines for word in line)
    names = [BEGIN, END, "<rare>", *sorted(word for word, n in count.items() if n > 1)]
    number = {name: i for i, name in enumerate(names)}
    ids = [np.array([0, *(number.get(w, 2) for w in line), 1]) for line in lines]
    cut = len(ids) * 9 // 10
    learnt, held = ids[:cut], ids[cut:]
    text, asked = np.concatenate(learnt), np.concatenate(held)
    sayable = np.arange(len(names)) > 0
    say(f"{len(text):,} words, {len(names):,} different ones, {len(asked):,} asked for")

    def estimate(rows: list[Ints]) -> Ngram:
        counts = count_ngrams([np.concatenate(rows)], ORDER, len(names), 0)
        return kneser_ney(counts, sayable)

    model = estimate(learnt)
    grams = len(names) + sum(len(order.keys) for order in model.longer)
    figures: dict[str, Any] = {"n-grams": grams, "words": len(text)}
    figures["words/s counted"] = len(text) / seconds(lambda: estimate(learnt))
    ratios: dict[str, float] = {}
    aims = []
    with tempfile.TemporaryDirectory() as place:
        arpa = Path(place, "model.arpa")
        write_arpa(arpa, model, names)
        if importlib.util.find_spec("kenlm"):
            import kenlm

            peer = kenlm.Model(str(arpa))
            sentences = [" ".join(names[i] for i in row[1:-1]) for row in held]
            ours, theirs = (
                float(model.log_prob(asked)[asked != 0].sum() / math.log(10)),
                sum(map(peer.score, sentences)),
            )
            aims.append(
                judge("log-probability, ours less KenLM's", abs(ours / theirs - 1), "≤ 1e-5")
            )
            times = alternate(
                {
                    "ours": lambda: model.log_prob(asked),
                    "kenlm": lambda: [peer.score(sentence) for sentence in sentences],
                },
                rounds=2 if given.quick else 9,
            )
            ratios["questions/s, ours / KenLM"] = speed_up(times, "ours", "kenlm")
            figures["questions/s"] = {
                name: len(asked) / sorted(each)[len(each) // 2] for name, each in times.items()
            }
            own = Path(place, "model.npz")
            parts = {f"{n}{part}": getattr(order, part) for n, order in enumerate(model.longer)
                     for part in ("keys", "logp", "backoff")}  # fmt: skip
            np.savez(own, logp=model.logp, backoff=model.backoff, **parts)
            bytes_of = {"ours": measure(own), "kenlm": measure(arpa)}
            figures["bytes an n-gram"] = {name: b / grams for name, b in bytes_of.items()}
            ratios["memory, ours / KenLM"] = bytes_of["ours"] / bytes_of["kenlm"]
        if importlib.util.find_spec("nltk"):
            ratios |= beside_nltk(learnt[: 200 if given.quick else SMALL], names, estimate)
    rows = [
        (name, f"{value:,.0f}") for name, value in figures.items() if not isinstance(value, dict)
    ]
    rows += [(f"{name}, {side}", f"{x:,.1f}") for name, value in figures.items()
             if isinstance(value, dict) for side, x in value.items()]  # fmt: skip
    targets = {
        "questions/s, ours / KenLM": "≥ 1",
        "memory, ours / KenLM": "≤ 1.5",
        "questions/s, ours / NLTK": "≥ 50",
        "counting, ours / NLTK": "≥ 20",
    }
    finish(given.json, table(("order 5", ""), rows), ratios, figures, targets, aims)


def read_lines(data: str | None) -> list[list[str]]:
    text = (
        Path(data).read_text(encoding="utf-8")
        if data
        else "\n".join(text for text, _ in python_prose())
    )
    return [[spell(w.encode()) for w in line.split()] for line in text.splitlines() if line.split()]


def measure(file: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT, str(file)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def measure_large(number: int, as_json: bool) -> None:
    """Of 4-grams and shorter ones as a text of words would have: a twentieth bigrams, a quarter
    trigrams, the others the longest.
    """
    # A tokenizer of 100,000 characters stands for one of as many words.
    alphabet = "".join(chr(i) for i in range(0x20000, 0x20000 + 100_000))
    tokenizer, rng = train_tokenizer("characters", [alphabet]), np.random.default_rng(0)
    words = tokenizer.vocab_size
    orders, shorter = [], words
    for share in (0.05, 0.25, 0.7):
        count = int(share * number)
        begins = np.sort(rng.integers(0, shorter, count)) << WORD_BITS
        # In order and never twice: behind each beginning its words count up.
        first = np.searchsorted(begins, begins)
        keys = begins + (np.arange(count) - first)
        logp = rng.uniform(-9, -1, count).astype(np.float32)
        left = np.full(count if share < 0.7 else 0, -0.5, np.float32)
        orders.append(Order(keys, logp, left))
        shorter = count
    say(f"{sum(len(order.keys) for order in orders):,} n-grams made up")
    single = np.full(words, -np.log(words), np.float32)
    network = NgramNetwork(NgramConfig(words, context=64), tokenizer.border)
    network.become(Ngram(single, np.zeros(words, np.float32), tuple(orders), tokenizer.border))
    del orders, keys, logp, left, begins, first
    with tempfile.TemporaryDirectory() as place:
        save_model(Path(place, "model"), network, tokenizer)
        size = Path(place, "model", "model.safetensors").stat().st_size
        del network
        done = subprocess.run(
            [sys.executable, "-c", LARGE, str(Path(place, "model"))],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    resident, ask = map(float, done.stdout.split())
    figures = {
        "n-grams": number, "bytes an n-gram in memory": resident / number,
        "bytes an n-gram on the disk": size / number, "questions/s": ask,
    }  # fmt: skip
    rows = [(name, f"{value:,.1f}") for name, value in figures.items()]
    finish(as_json, table(("made up", ""), rows), {}, figures, {}, [])


def beside_nltk(
    learnt: list[Ints], names: list[str], estimate: Callable[[list[Ints]], Ngram]
) -> dict[str, float]:
    """Counting the same rows, and asking for the first few of them: of contexts that nothing stood
    before NLTK (3.10) divides by zero, which counts as an answer.
    """
    from nltk.lm import KneserNeyInterpolated
    from nltk.util import everygrams

    rows = [[names[i] for i in row] for row in learnt]

    def count() -> Any:
        peer = KneserNeyInterpolated(ORDER)
        peer.fit((list(everygrams(row, max_len=ORDER)) for row in rows), names)
        return peer

    model = estimate(learnt)
    times = alternate({"ours": lambda: estimate(learnt), "nltk": count}, rounds=3)
    peer = count()
    some = learnt[:5]
    asked = np.concatenate(some)
    words = [[names[i] for i in row] for row in some]

    def ask() -> None:
        for row in words:
            for i in range(1, len(row)):
                with suppress(ZeroDivisionError):
                    peer.logscore(row[i], row[max(0, i - ORDER + 1) : i])

    queries = alternate({"ours": lambda: model.log_prob(asked), "nltk": ask}, rounds=3)
    return {
        "counting, ours / NLTK": speed_up(times, "ours", "nltk"),
        "questions/s, ours / NLTK": speed_up(queries, "ours", "nltk"),
    }


if __name__ == "__main__":
    main()
