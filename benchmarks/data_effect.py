"""What dropping near copies buys, by `fledge data effect step=near` on text with copies planted in
it: every tenth piece of 2,000 characters stands there ten times, each time with one word in fifty
changed.

The text is the prose of the Python installation, or --data. Both sides train for as many steps.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fledge.text.documents import read_documents
from side_by_side import finish, options, table

PIECE = 2000  # characters
PIECES = 600
EVERY, TIMES = 10, 10
WORDS = 50  # of which one is changed


def write_corpus(path: Path, data: str, seed: int = 0) -> int:
    """How many documents it has. Those that come again lie anywhere."""
    lot, texts = random.Random(seed), list[str]()
    for document in read_documents(data):
        for chunk in document.chunks():
            texts += [chunk[a : a + PIECE] for a in range(0, len(chunk) - PIECE + 1, PIECE)]
    texts = lot.sample(texts, min(PIECES, len(texts)))
    again = [change(text, lot) for text in texts[::EVERY] for _ in range(TIMES - 1)]
    rows = texts + again
    lot.shuffle(rows)
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return len(rows)


def change(text: str, lot: random.Random) -> str:
    words = text.split(" ")
    for at in lot.sample(range(len(words)), len(words) // WORDS):
        words[at] = lot.choice(words)
    return " ".join(words)


def main() -> None:
    given = options(__doc__, data="text in which copies are planted")
    with tempfile.TemporaryDirectory() as folder:
        number = write_corpus(Path(folder, "corpus.jsonl"), given.data or "python")
        words = ["data", "effect", "corpus.jsonl", "step=near", f"out={folder}/effect"]
        words += ["seeds=2", "steps=20"] if given.quick else ["seeds=3", "steps=400"]
        done = subprocess.run(
            [sys.executable, "-m", "fledge", *words, "--json"],
            cwd=folder, check=True, capture_output=True, text=True,
        )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout)
    figures = {name: told[name] for name in ("without", "with", "difference", "low", "high")}
    figures |= {"documents": number, "share_kept": told["bytes"]["with"] / told["bytes"]["without"]}
    rows = [(name, f"{figure:,.4f}", "") for name, figure in figures.items()]
    finish(given.json, table(("", "bits per byte", ""), rows), {}, figures, {}, [])


if __name__ == "__main__":
    main()
