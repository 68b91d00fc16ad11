"""`fledge data mixture`: shares with intervals out of small models, a killed study that goes on,
and what cannot be mixed.
"""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest
from tests.cli.commands import Cli

MIXTURE = (
    "data mixture letters.jsonl,digits.jsonl mixtures=5 seeds=2 steps=2 tokens_per_step=128 out=mix"
)


def write_sources(folder: Path) -> None:
    """Letters, and digits: 300 documents of each."""
    for name, signs in (("letters", "abcdefgh "), ("digits", "01234567 ")):
        lot = random.Random(name)
        texts = ["".join(lot.choices(signs, k=200)) for _ in range(300)]
        (folder / f"{name}.jsonl").write_text(
            "".join(json.dumps({"text": text}) + "\n" for text in texts)
        )


@pytest.mark.slow
def test_a_killed_study_repeats_no_model_and_says_a_mixture(cli: Cli, tmp_path: Path) -> None:
    write_sources(tmp_path)
    first = tmp_path / "mix/mixture-1.json"
    cli(MIXTURE, folder=tmp_path, signal=signal.SIGKILL, once=first)
    written = first.stat().st_mtime_ns
    told = cli("resume mix --json", folder=tmp_path).result
    assert first.stat().st_mtime_ns == written
    assert sum(told["shares"].values()) == pytest.approx(1, abs=1e-3)
    for share, low, high in zip(told["shares"].values(), told["low"], told["high"], strict=True):
        assert 0 <= low <= high <= 1
        assert 0 <= share <= 1
    assert told["difference"]["low"] <= told["difference"]["difference"]
    assert "How much of each source" in (tmp_path / "mix/report.html").read_text()
    short = "tokenizer=bytes layers=1 width=16 heads=2 context=32 tokens_per_step=64 steps=2"
    assert cli(f"pretrain data={told['data']} {short}", folder=tmp_path).code == 0
    held = [json.loads(line)["text"] for line in (tmp_path / "mix/held-0.jsonl").open()]
    taught = (tmp_path / "mix/source-0.jsonl").read_text()
    assert held
    assert not any(text in taught for text in held)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("letters.jsonl", "names 1 sources: give two to ten different ones"),
        ("letters.jsonl:2,digits.jsonl:1", "has weights, which are to be found: leave them out"),
        ("letters.jsonl,digits.jsonl mixtures=4", "mixtures=4 are too few: a law of 2 sources has"),
        ("letters.jsonl,digits.jsonl counts=1", "counts=1 wants 2 numbers with commas between"),
        ("letters.jsonl,short.jsonl", "short.jsonl leaves 2 pieces of text to hold out"),
    ],
)
def test_what_cannot_be_mixed(words: str, said: str, cli: Cli, tmp_path: Path) -> None:
    write_sources(tmp_path)
    (tmp_path / "short.jsonl").write_text(json.dumps({"text": "one short text " * 20}) + "\n")
    assert said in cli(f"data mixture {words}", folder=tmp_path).complaint
    assert not (tmp_path / "runs/data-mixture").exists()
