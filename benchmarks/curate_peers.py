"""Near copies beside `datasketch`, `rensa` and `text-dedup`: documents a second of the process's
own time, in turn, and what it holds of them. All are given the same runs of five words, 112
permutations and 14 bands of 8, each at its fastest exact form, and are imported beforehand.

datasketch: `MinHash.bulk`, which draws its permutations once. rensa: a matrix of digests, and its
one-shot search. text-dedup: `embed_func` of its minhash.py with xxh3 in 32 bits, its tables and its
union-find, as its `main` puts them together.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from curate import AT_A_TIME, seconds, write_documents
from fledge.curate.near_copies import BANDS, ROWS, SHINGLE, find_clusters, hash_bands
from side_by_side import finish, options, say, table

Side = Callable[[list[str]], Any]
TELL_GROWTH = """
import sys
sys.path.insert(0, {here!r})
from curate import write_documents
from curate_peers import list_sides, read_memory
side = list_sides()[{name!r}]
texts = [text for seed in range({number} // 500) for text in write_documents(500, seed)]
side(texts[:64])
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew: writing texts had one
before = read_memory("VmRSS")
side(texts)
print("growth", read_memory("VmHWM") - before)
"""


def hash_ours(texts: list[str]) -> np.ndarray:
    parts = [hash_bands(texts[a : a + AT_A_TIME]) for a in range(0, len(texts), AT_A_TIME)]
    return find_clusters(np.concatenate(parts))


def list_runs(text: str) -> set[str]:
    words = text.lower().split()
    return {" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}


def hash_datasketch(datasketch: Any, texts: list[str]) -> list[Any]:
    index = datasketch.MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    runs, copies = [], []
    for text in texts:
        runs.append([run.encode() for run in list_runs(text)])
    sketches = datasketch.MinHash.bulk(runs, num_perm=BANDS * ROWS)
    for number, sketch in enumerate(sketches):
        copies.append(index.query(sketch))
        index.insert(str(number), sketch, check_duplication=False)
    return copies


def hash_rensa(rensa: Any, texts: list[str]) -> Any:
    runs = [list(list_runs(text)) for text in texts]
    matrix = rensa.RMinHash.digest_matrix_from_token_sets(runs, BANDS * ROWS, 42)
    return rensa.RMinHashLSH(0.75, BANDS * ROWS, BANDS).query_duplicate_flags_matrix_one_shot(
        matrix
    )


def hash_text_dedup(minhash: Any, texts: list[str]) -> Any:
    prime, most = np.uint32((1 << 32) - 5), np.uint32((1 << 32) - 1)
    random = np.random.RandomState(42)
    factors = random.randint(1, prime, size=(BANDS * ROWS,), dtype=np.uint32)
    terms = random.randint(0, prime, size=(BANDS * ROWS,), dtype=np.uint32)
    ranges = [(band * ROWS, (band + 1) * ROWS) for band in range(BANDS)]
    tables: list[dict[bytes, set[int]]] = [defaultdict(set) for _ in range(BANDS)]
    for number, text in enumerate(texts):
        told = minhash.embed_func(
            text, number, num_perm=BANDS * ROWS, ngram_size=SHINGLE, min_length=SHINGLE,
            hashranges=ranges, permutations=(factors, terms), hash_func=minhash.xxh3_32hash,
            dtype=np.uint32, max_hash=most, modulo_prime=prime,
        )  # fmt: skip
        for band, documents in zip(told[minhash.SIGNATURE_COLUMN], tables, strict=True):
            documents[band].add(number)
    clusters = minhash.UnionFind()
    for band_table in tables:
        for numbers in band_table.values():
            if len(numbers) > 1:
                first = min(numbers)
                for number in numbers:
                    clusters.union(number, first)
    return [clusters.find(number) for number in range(len(texts))]


PEERS = {
    "datasketch": ("datasketch", hash_datasketch),
    "rensa": ("rensa", hash_rensa),
    "text-dedup": ("text_dedup.minhash", hash_text_dedup),
}


def list_sides() -> dict[str, Side]:
    """Ours, and those of the others that are installed."""
    sides: dict[str, Side] = {"ours": hash_ours}
    for name, (module, work) in PEERS.items():
        try:
            peer = importlib.import_module(module)
        except ImportError:
            continue
        sides[name] = lambda texts, work=work, peer=peer: work(peer, texts)
    return sides


def read_memory(name: str) -> float:
    """MB that the system says of this process."""
    with open("/proc/self/status") as file:
        [line] = [line for line in file if line.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024


def measure_growth(name: str, number: int, here: str) -> float:
    """MB that a process needs more for so many documents, their texts not counted."""
    done = subprocess.run(
        [sys.executable, "-c", TELL_GROWTH.format(name=name, number=number, here=here)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(done.stdout.split("growth")[1])


def measure_copies(texts: list[str], rounds: int) -> dict[str, float]:
    """Documents a second of each side that is installed, medians of rounds in turn."""
    sides = list_sides()
    for work in sides.values():
        work(texts[:AT_A_TIME])
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            rates[name].append(len(texts) / seconds(lambda work=work: work(texts)))
    return {name: float(np.median(each)) for name, each in rates.items()}


def main() -> None:
    given = options(__doc__)
    os.environ["RAYON_NUM_THREADS"] = "1"  # rensa's
    number = 500 if given.quick else 2000
    if list_sides().keys() == {"ours"}:
        sys.exit("none of datasketch, rensa and text-dedup is installed: install one to compare.")
    texts = write_documents(number)
    rates = measure_copies(texts, 1 if given.quick else 3)
    here = str(Path(__file__).parent)
    growth = {name: measure_growth(name, number, here) for name in rates}
    figures = {f"{name}_documents_per_second": rate for name, rate in rates.items()}
    figures |= {f"{name}_megabytes_held": held for name, held in growth.items()}
    figures["megabytes_per_second"] = rates["ours"] * sum(map(len, texts)) / number / 1e6
    ratios = {f"copies_over_{name}": rates["ours"] / rates[name] for name in PEERS if name in rates}
    ratios |= {f"memory_of_{n}": growth["ours"] / growth[n] for n in PEERS if n in growth}
    aims: list[dict[str, Any]] = []
    for name, aim in (("datasketch", 2.0), ("rensa", 1.0), ("text-dedup", 1.0)):
        if ratio := ratios.get(f"copies_over_{name}"):
            aims.append({"name": f"times {name}", "figure": ratio, "aim": f"≥ {aim:g}",
                         "holds": ratio >= aim})  # fmt: skip
        else:
            say(f"{name} is not installed")
    if held := ratios.get("memory_of_datasketch"):
        aims.append({"name": "memory, of datasketch's", "figure": held, "aim": "≤ 0.5",
                     "holds": held <= 0.5})  # fmt: skip
    rows = [(one["name"], f"{one['figure']:,.2f}", one["aim"]) for one in aims]
    finish(given.json, table(("", "measured", "aim"), rows), ratios, figures, {}, aims)


if __name__ == "__main__":
    main()
