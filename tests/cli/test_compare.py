"""Several kinds of language model on one text: each a run of its own, one table, one page."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tests.cli.commands import PRETRAIN, Cli, Models, outcome

ALONE = PRETRAIN.replace(" heads=2", "")
COMPARE = ALONE.replace("pretrain ", "compare models=ngram3,gru,decoder,moe ")


def test_each_model_is_what_its_own_run_makes_of_it(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    done = cli(models.fill(f"{COMPARE} out=all save_every_s=0"), folder=tmp_path)
    assert done.code == 0, done.stderr
    summary = json.loads((tmp_path / "all/summary.json").read_text())
    assert list(summary["models"]) == ["ngram3", "gru", "decoder", "moe"]
    assert summary["models"]["moe"]["parameters"] > summary["models"]["decoder"]["parameters"]
    alone = cli(models.fill(f"{ALONE} architecture=gru out=alone save_every_s=0"), folder=tmp_path)
    assert alone.code == 0, alone.stderr
    assert outcome(tmp_path / "alone") == outcome(tmp_path / "all/gru")
    for name, one in summary["models"].items():
        own = json.loads((tmp_path / "all" / name / "summary.json").read_text())
        assert one["bits_per_byte"] == own["test"]["bits_per_byte"]
        assert f"{one['bits_per_byte']:.3f}" in done.stdout
        assert len(one["curve"][0]) == len(one["curve"][1]) > 2
    page = (tmp_path / "all/report.html").read_text()
    assert all(name in page for name in summary["models"])
    # together they foretell the text at least as well as the best on what weighs them
    words = "evaluate base=all/gru data={text} interpolate=all/ngram3,all/decoder --json"
    done = cli(models.fill(words), folder=tmp_path)
    assert done.code == 0, done.stderr
    together = json.loads(done.stdout)["interpolated"]
    assert sum(together["weights"].values()) == pytest.approx(1)
    assert together["bits_per_byte"] < json.loads(done.stdout)["bits_per_byte"]


def test_killed_it_goes_on_with_what_is_not_finished(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = models.fill(f"{COMPARE} save_every_s=0 out=killed")
    log = tmp_path / "killed/gru/metrics.jsonl"
    assert cli(words, folder=tmp_path, signal=signal.SIGKILL, once=log).code == -signal.SIGKILL
    first = (tmp_path / "killed/ngram3/summary.json").read_bytes()
    done = cli("resume killed", folder=tmp_path)
    assert done.code == 0, done.stderr
    assert (tmp_path / "killed/ngram3/summary.json").read_bytes() == first
    assert len(json.loads((tmp_path / "killed/summary.json").read_text())["models"]) == 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("models=lstm,bert", "names 'bert': give some of ngram1"),
        ("models=lstm,lstm", "names a model twice"),
        ("models=lstm architecture=gru", "models= says which models are trained"),
    ],
)
def test_models_that_are_none(
    words: str, sentence: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    done = cli(models.fill(f"compare data={{text}} {words}"), folder=tmp_path)
    assert done.code == 2
    assert sentence in done.stderr
    assert not list(tmp_path.iterdir())
