"""`fledge data clean` and `data show`: planted documents come out for the planted reason, a killed
cleaning goes on to the same bits, and what cannot be read is named.
"""

from __future__ import annotations

import gzip
import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.cli.commands import Cli, Models
from tests.curate.texts import write_text

QUESTION = "which of the seven rivers that cross the old city was dammed first by the monks"
CLEAN = "data clean corpus.jsonl rules=gopher against=questions.jsonl"


def prose(seed: int) -> str:
    """What Gopher's rules allow."""
    words = write_text(seed, 120).split()
    for at, common in zip(range(5, 120, 12), ("the", "of", "and", "to") * 3, strict=False):
        words[at] = common
    return "\n".join(" ".join(words[i : i + 12]) + "." for i in range(0, 120, 12))


def change_a_word(text: str) -> str:
    return text.replace(text.split()[60], "another", 1)


# By the line of the corpus: what is to become of it.
BASE = [prose(seed) for seed in range(30)]
PASSAGE = write_text(900, 55)
PLANTED: dict[str, list[str]] = {
    "exact": [BASE[3].replace("\n", " \n "), BASE[4] + "\n"],
    "near": [change_a_word(BASE[5]), change_a_word(BASE[6])],
    "gopher": ["too short", "# " * 200],
    "against": [f"{prose(70)}\nSo: {QUESTION.upper()}?"],
    "kept": [f"{prose(60)}\n{PASSAGE}\n{prose(61)}", f"{prose(62)}\n{PASSAGE}\n{prose(63)}",
             prose(64) + " Write to ann@example.org."],
}  # fmt: skip


def write_corpus(folder: Path) -> dict[str, str]:
    """text -> what is to become of it. The originals stand first."""
    planted = [(text, what) for what, texts in PLANTED.items() for text in texts]
    random.Random(0).shuffle(planted)
    rows = [*((text, "kept") for text in BASE), *planted]
    lines = [json.dumps({"text": text}) for text, _ in rows]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "questions.jsonl").write_text(
        json.dumps({"question": QUESTION, "answer": "x"}) + "\n"
    )
    return dict(rows)


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_planted_document_comes_out_for_its_reason(cli: Cli, tmp_path: Path) -> None:
    wanted = write_corpus(tmp_path)
    told = cli(f"{CLEAN} out=clean --json", folder=tmp_path).result
    dropped = read_rows(tmp_path / "clean/dropped.jsonl")
    became = {row["text"]: row["dropped_by"] for row in dropped}
    assert became == {text: what for text, what in wanted.items() if what != "kept"}
    reasons = {row["dropped_by"]: row["reason"] for row in dropped}
    assert reasons["near"].startswith("nearly a copy of corpus.jsonl:")
    assert reasons["exact"].startswith("a copy of corpus.jsonl:")
    assert "which of the seven rivers" in reasons["against"]
    kept = read_rows(tmp_path / "clean/kept.jsonl")
    assert len(kept) == told["documents"]["kept"] == 33
    whole = {text for text, what in wanted.items() if what == "kept"}
    changed = {row["text"]: row for row in kept if row["text"] not in whole}
    # the second of two with one passage lost it, and nothing else; an address lost its name
    shares = [row for row in changed.values() if "characters cut" in row["kept"]]
    assert len(shares) == 1
    assert PASSAGE not in shares[0]["text"]
    assert sum(PASSAGE in row["text"] for row in kept) == 1
    [mail] = [row for row in changed.values() if "1 email replaced" in row["kept"]]
    assert mail["text"] == prose(64) + " Write to <email>."
    assert len(changed) == 2
    assert told["hidden"] == {"email": 1}
    shown = cli("data show clean documents=50 out=page.html", folder=tmp_path)
    assert shown.code == 0, shown.stderr
    page = (tmp_path / "page.html").read_text()
    assert all(f"Dropped by {what}" in page for what in PLANTED if what != "kept")
    assert "passed gopher" in page


@pytest.mark.parametrize("data", ["python", "rows-*.jsonl"])
def test_text_is_named_as_everywhere(cli: Cli, tmp_path: Path, data: str) -> None:
    """The prose of this Python, and a pattern; what was read is in the lineage."""
    for part in (0, 1):
        rows = [json.dumps({"text": prose(part + 2 * seed)}) + "\n" for seed in range(5)]
        (tmp_path / f"rows-{part}.jsonl").write_text("".join(rows))
    done = cli(
        ["data", "clean", data, "rules=c4", "copies=exact", "spans=0", "out=clean", "--json"],
        folder=tmp_path,
    )
    assert done.code == 0, done.stderr
    read = json.loads((tmp_path / "clean/lineage.json").read_text())["data"]
    assert len(read) == (0 if data == "python" else 2)
    kept = done.result["documents"]["kept"]
    assert kept > 100 if data == "python" else kept == 10


def test_killed_at_any_stage_it_ends_with_the_same_bits(cli: Cli, tmp_path: Path) -> None:
    write_corpus(tmp_path)
    assert cli(f"{CLEAN} out=whole", folder=tmp_path).code == 0
    for number, once in enumerate(("config.json", "verdicts.npz", "spans.npz")):
        out = tmp_path / f"killed{number}"
        done = cli(
            f"{CLEAN} out={out.name}", folder=tmp_path, signal=signal.SIGKILL, once=out / once
        )
        if done.code != 0:  # or it was quicker than the signal
            judged = out / "verdicts.npz"
            before = judged.stat().st_mtime_ns if judged.exists() else None
            assert cli(f"resume {out.name}", folder=tmp_path).code == 0
            if before is not None:
                assert judged.stat().st_mtime_ns == before  # that stage was not repeated
        for name in ("kept.jsonl", "dropped.jsonl"):
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("data clean corpus.jsonl rules=gofer", "rules=gofer names 'gofer': give some of gopher"),
        ("data clean corpus.jsonl most_bits=3", "model= and most_bits= go together"),
        ("data clean nothing.jsonl", "nothing.jsonl does not exist"),
        ("data clean folder", "part-2.jsonl.gz is not a whole gzip file"),
        ("data clean empty.txt", "empty.txt is empty"),
        ("data clean short.txt", "nothing of the 1 documents of short.txt is kept"),
        ("data show .", "is no run of `fledge data clean`"),
    ],
)
def test_what_cannot_be_cleaned(words: str, said: str, cli: Cli, tmp_path: Path) -> None:
    write_corpus(tmp_path)
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "short.txt").write_text("short")
    (tmp_path / "folder").mkdir()
    packed = gzip.compress((tmp_path / "corpus.jsonl").read_bytes())
    (tmp_path / "folder/part-1.jsonl.gz").write_bytes(packed)
    (tmp_path / "folder/part-2.jsonl.gz").write_bytes(packed[:-200])
    done = cli(words, folder=tmp_path)
    assert done.code == 2
    assert said in done.stderr.splitlines()[-1]


def test_a_model_says_what_is_too_strange(cli: Cli, models: Models, tmp_path: Path) -> None:
    """An n-gram of the common text, and a document of letters that it has never seen."""
    assert cli(models.fill("pretrain data={text} architecture=ngram order=3 tokenizer=bytes "
                           "context=64 out=ngram"), folder=tmp_path).code == 0  # fmt: skip
    known = (models.folder / "text.txt").read_text()[:400]
    rows = [known, "ZQX" * 100]
    (tmp_path / "two.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    done = cli("data clean two.jsonl rules=none spans=0 model=ngram most_bits=5 out=two",
               folder=tmp_path)  # fmt: skip
    assert done.code == 0, done.stderr
    [dropped] = read_rows(tmp_path / "two/dropped.jsonl")
    assert dropped["dropped_by"] == "model"
    assert "bits per byte, and 5 may be" in dropped["reason"]
    assert [row["text"] for row in read_rows(tmp_path / "two/kept.jsonl")] == [known]


def test_where_nothing_is_kept_the_page_still_says_why(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("short")
    assert cli("data clean short.txt out=clean", folder=tmp_path).code == 2
    shown = cli("data show clean", folder=tmp_path)
    assert shown.code == 0, shown.stderr
    for page in ("clean/report.html", "data.html"):
        assert "1 words, and 50 to 100,000 are allowed" in (tmp_path / page).read_text()
