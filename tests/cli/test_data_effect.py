"""`fledge data effect`: both sides hold what they should, and a killed study goes on."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path

import pytest
from tests.cli.commands import Cli
from tests.curate.texts import write_text

from fledge.recipes.data.effect import HELD_OUT, DataEffectConfig, write_sides

EFFECT = "data effect corpus.jsonl step=near seeds=2 steps=2 tokens_per_step=128 out=effect"


def write_corpus(path: Path) -> list[str]:
    """500 documents, and of each of the first 100 a copy with one word changed."""
    texts = [write_text(seed, 120) for seed in range(500)]
    copies = [text.replace(text.split()[30], "other", 1) for text in texts[:100]]
    rows = [json.dumps({"text": text}) + "\n" for text in (*texts, *copies)]
    path.write_text("".join(rows))
    return texts


def read_texts(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_sides_differ_by_the_step_alone_and_nothing_is_repeated(cli: Cli, tmp_path: Path) -> None:
    texts = write_corpus(tmp_path / "corpus.jsonl")
    first = tmp_path / "effect/without-0.json"
    cli(EFFECT, folder=tmp_path, signal=signal.SIGKILL, once=first)
    written = first.stat().st_mtime_ns
    told = cli("resume effect --json", folder=tmp_path).result
    assert first.stat().st_mtime_ns == written
    held, kept, whole = (
        read_texts(tmp_path / f"effect/{name}.jsonl") for name in ("held", "with", "without")
    )
    assert 10 < len(held) < 50
    assert set(held) <= set(texts)
    assert not set(held) & set(whole)
    assert set(kept) <= set(texts)  # no copy
    assert len(kept) + len(held) == 500
    extra = set(whole) - set(kept)
    assert 80 < len(extra) <= 100
    for text in held:  # nor is a copy of what is held out on either side
        assert text.replace(text.split()[30], "other", 1) not in extra
    assert told["low"] <= told["difference"] <= told["high"]
    assert told["with"] - told["without"] == pytest.approx(told["difference"])


def test_what_shares_a_passage_is_not_held_out(tmp_path: Path) -> None:
    """One side would learn the passage twice, the other once: it could not be judged fairly."""
    texts = [write_text(seed, 60) for seed in range(600)]
    digests = [hashlib.sha256(text.encode()).digest()[:8] for text in texts]
    chosen = [
        text for text, digest in zip(texts, digests, strict=True)
        if int.from_bytes(digest, "big") % HELD_OUT == 0
    ]  # fmt: skip
    again = f"{chosen[0]} {write_text(1000, 60)}"
    rows = [json.dumps({"text": text}) + "\n" for text in (*texts, again)]
    (tmp_path / "corpus.jsonl").write_text("".join(rows))
    config = DataEffectConfig(data=str(tmp_path / "corpus.jsonl"), step="spans")
    counts = write_sides(tmp_path, config)
    assert read_texts(tmp_path / "held.jsonl") == chosen[1:]
    assert counts["held"] == len(chosen) - 1
    assert chosen[0] in read_texts(tmp_path / "with.jsonl")


def test_dedup_takes_copies_and_shared_passages(tmp_path: Path) -> None:
    """One text of forty words twice, too short for a passage, and sixty words that stand in two:
    the side with the step has neither twice.
    """
    texts = [write_text(seed, 200 if seed else 40) for seed in range(400)]
    passage = write_text(2000, 60)
    more = [texts[0], f"{passage} {write_text(2001, 80)}", f"{write_text(2002, 80)} {passage}"]
    rows = [json.dumps({"text": text}) + "\n" for text in (*texts, *more)]
    (tmp_path / "corpus.jsonl").write_text("".join(rows))
    config = DataEffectConfig(data=str(tmp_path / "corpus.jsonl"), step="dedup")
    write_sides(tmp_path, config)
    kept = "\n".join(read_texts(tmp_path / "with.jsonl") + read_texts(tmp_path / "held.jsonl"))
    whole = "\n".join(read_texts(tmp_path / "without.jsonl"))
    assert kept.count(texts[0]) == 1
    assert kept.count(passage) == 1
    assert whole.count(passage) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("step=exact", "step=exact changes nothing of small.jsonl"),
        ("step=gopher", "step=gopher leaves nothing of small.jsonl"),
        ("step=nothing", "step=nothing"),
        ("step=near", "to hold out, one in 20, and 20 are wanted: give more documents"),
    ],
)
def test_what_has_no_effect_to_measure(words: str, said: str, cli: Cli, tmp_path: Path) -> None:
    texts = [write_text(seed, 60) for seed in range(6)]
    texts.append(texts[0].replace(texts[0].split()[30], "other", 1))
    rows = [json.dumps({"text": text}) + "\n" for text in texts]
    (tmp_path / "small.jsonl").write_text("".join(rows))
    assert said in cli(f"data effect small.jsonl {words}", folder=tmp_path).complaint
    assert not (tmp_path / "runs/data-effect").exists()
