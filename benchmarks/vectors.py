"""Skip-gram with negative sampling, ours beside gensim's C: words a second on one thread and on
two, and how well the vectors agree with what people say of pairs of words.

Both read the same words in the same order, from memory and from a file (gensim's `corpus_file`,
its faster way), with 100 numbers a vector, windows of 5, 5 noise words, sample 1e-3 and the same
rate. A word counts once a pass, whether it is left out or not. Every round has a seed of its own;
its vectors are held against WordSim-353 and SimLex-999, which gensim's tests bring.

The text is --data, a file or folder as `fledge vectors` takes it, by default the prose of this
Python installation.
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fledge.algorithms.likelihood.context_prediction import ContextPrediction, ContextSettings
from fledge.models.language.word_vectors import WordVectors, correlate_ranks
from fledge.recipes.language.vector_questions import read_pairs
from fledge.sample.word_chunks import WordChunks
from fledge.stopwatch import Stopwatch
from fledge.text.documents import read_documents
from fledge.text.words import Vocabulary, WordReader, WordText, make_text
from side_by_side import alternate, finish, judge, options, rate_table, rates, say, speed_up, table

DIMS, WINDOW, NEGATIVES, SAMPLE, RATE = 100, 5, 5, 1e-3, 0.025
MIN_COUNT = 5
SETS = ("wordsim353.tsv", "simlex999.txt")


def main() -> None:
    given = options(__doc__, data="text in place of the prose of this installation")
    epochs, rounds = (1, 1) if given.quick else (5, 3)
    reader = WordReader()
    ids, lengths = reader.read(read_documents(given.data or "python"))
    vocabulary, places = reader.choose(ids, MIN_COUNT)
    text = make_text(ids, lengths, places)
    say(f"{len(text):,} words, {len(vocabulary):,} different ones")
    learned: dict[str, list[WordVectors]] = defaultdict(list)
    sides: dict[str, Callable[[], float]] = {
        f"ours, {n} thread{'s' * (n > 1)}": partial(learn, vocabulary, text, epochs, n, learned)
        for n in (1, 2)
    }
    pairs: dict[str, list[Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        if importlib.util.find_spec("gensim"):
            corpus = write_corpus(vocabulary, text, Path(place, "corpus.txt"))
            for n in (1, 2):
                sides[f"gensim, {n} thread{'s' * (n > 1)}"] = ask_gensim(
                    vocabulary, text, corpus, epochs, n, learned
                )
            import gensim

            folder = Path(*gensim.__path__, "test", "test_data")
            pairs = {name: read_pairs(folder / name) for name in SETS if (folder / name).is_file()}
        times = alternate(sides, rounds, warm=0)
    ratios = {
        "words/s, ours on 2 threads / on 1": speed_up(times, "ours, 2 threads", "ours, 1 thread")
    }
    aims = []
    if pairs:
        ratios["words/s on 1 thread, ours / gensim"] = speed_up(
            times, "ours, 1 thread", "gensim, 1 thread"
        )
        ratios["words/s on 2 threads, ours / gensim"] = speed_up(
            times, "ours, 2 threads", "gensim, 2 threads"
        )
    quality = {
        name: {side: statistics.mean(correlate(one, rows) for one in each)
               for side, each in learned.items()}
        for name, rows in pairs.items()
    }  # fmt: skip
    for name, by_side in quality.items():
        lead = by_side["ours, 1 thread"] - by_side["gensim, 1 thread"]
        aims.append(judge(f"Spearman on {name}, ours less gensim's", lead, "≥ -0.02"))
    if not pairs:
        aims.append(judge("gensim, which is not installed here", 0, "≥ 1"))
    speed = rates(times, epochs * len(text))
    said = rate_table(speed, "words/s") + "\n\n" + table(
        ("Spearman", *quality), [(side, *(f"{quality[name][side]:.3f}" for name in quality))
                                 for side in sides],
    )  # fmt: skip
    targets = {
        "words/s on 1 thread, ours / gensim": "≥ 1",
        "words/s, ours on 2 threads / on 1": "≥ 1.7",
    }
    figures = {"words/s": speed, "spearman": quality, "words": len(text)}
    finish(given.json, said, ratios, figures, targets, aims)


def learn(
    vocabulary: Vocabulary, text: WordText, epochs: int, threads: int,
    learned: dict[str, list[WordVectors]],
) -> float:  # fmt: skip
    """-> seconds"""
    side = f"ours, {threads} thread{'s' * (threads > 1)}"
    settings = ContextSettings(
        dims=DIMS, window=WINDOW, negatives=NEGATIVES, sample=SAMPLE, learning_rate=RATE,
        threads=threads,
    )  # fmt: skip
    total = epochs * len(text)
    algorithm = ContextPrediction(vocabulary, settings, total, len(learned[side]), Stopwatch())
    chunks, done = WordChunks(text), 0
    began = time.perf_counter()
    while done < total:
        batch = next(chunks)
        algorithm.update(batch)
        done += batch.count_actions()
    taken = time.perf_counter() - began
    learned[side].append(algorithm.vectors())
    return taken


def write_corpus(vocabulary: Vocabulary, text: WordText, path: Path) -> Path:
    """A chunk a line."""
    with path.open("w", encoding="utf-8") as file:
        for begin, end in zip(text.begins, text.begins[1:], strict=False):
            file.write(" ".join(vocabulary.words[i] for i in text.ids[begin:end]) + "\n")
    return path


def ask_gensim(
    vocabulary: Vocabulary, text: WordText, corpus: Path, epochs: int, threads: int,
    learned: dict[str, list[WordVectors]],
) -> Callable[[], float]:  # fmt: skip
    from gensim.models import Word2Vec

    side = f"gensim, {threads} thread{'s' * (threads > 1)}"

    def run() -> float:
        model = Word2Vec(
            vector_size=DIMS, window=WINDOW, negative=NEGATIVES, sample=SAMPLE, alpha=RATE,
            min_alpha=RATE * 1e-4, sg=1, min_count=1, workers=threads, seed=1 + len(learned[side]),
        )  # fmt: skip
        counts = zip(vocabulary.words, vocabulary.counts.tolist(), strict=True)
        model.build_vocab_from_freq(dict(counts), corpus_count=text.chunks)
        began = time.perf_counter()
        model.train(
            corpus_file=str(corpus), total_words=len(text), total_examples=text.chunks,
            epochs=epochs,
        )  # fmt: skip
        taken = time.perf_counter() - began
        rows = torch.from_numpy(np.array(model.wv.vectors))
        learned[side].append(WordVectors(tuple(model.wv.index_to_key), rows))
        return taken

    return run


def correlate(held: WordVectors, pairs: list[Any]) -> float:
    known = [(a.lower(), b.lower(), s) for a, b, s in pairs]
    known = [(a, b, s) for a, b, s in known if held.knows(a) and held.knows(b)]
    return correlate_ranks([held.similarity(a, b) for a, b, _ in known], [s for *_, s in known])


if __name__ == "__main__":
    main()
