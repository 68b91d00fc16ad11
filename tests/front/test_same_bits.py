"""Python and the command line are one thing: the same fields and seed give the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

import fledge
from fledge.cli.verbs import VERBS
from tests.cli.commands import STAGES, Cli, Models, outcome


def as_keywords(words: list[str]) -> tuple[str, dict[str, Any]]:
    """A command line's words as Python says them: numbers as numbers, truths as truths."""
    verb, *rest = words
    given = dict(word.split("=", 1) for word in rest)
    fields = VERBS[verb].config_for(given).model_fields
    return verb, {
        key: TypeAdapter(fields[key].annotation).validate_python(
            value.split(",") if key == "widths" else value
        )
        for key, value in given.items()
    }


@pytest.mark.parametrize(
    "stage",
    [
        "pretrain",
        "tune",
        "prefer",
        "align grpo",
        "control ppo",
        "fit gmm",
        "fit hmm",
        "fit kalman",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("reward", "distill", "align ppo")
        ),
    ],
)
def test_the_same_bits(
    stage: str, cli: Cli, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = models.fill(STAGES[stage])
    done = cli([*words, "out=line"], folder=tmp_path)
    assert done.code == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    verb, fields = as_keywords(words)
    run = getattr(fledge, verb)(**fields, out="python")
    assert run.folder == Path("python")
    assert outcome(tmp_path / "python") == outcome(tmp_path / "line")
    assert run.notes.splitlines()[-1].replace("python", "line") == done.stdout.splitlines()[-1]


def test_the_same_default_folders(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fields: dict[str, Any] = as_keywords(models.fill(STAGES["tune"]))[1]
    runs = [fledge.tune(**{**fields, "steps": 1}) for _ in range(2)]
    assert [str(run.folder) for run in runs] == ["runs/tune", "runs/tune-2"]


def test_settings_of_an_algorithm_by_either_name(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fields: dict[str, Any] = as_keywords(models.fill(STAGES["align reinforce"]))[1]
    fields |= {"algorithm": "gspo", "steps": 1}
    own: dict[str, Any] = {"gspo.clip_low": 1e-4}
    plain, named = fledge.align(**fields, clip_low=1e-4), fledge.align(**fields, **own)
    assert plain.config["clip_low"] == named.config["clip_low"] == 1e-4
    assert outcome(plain.folder) == outcome(named.folder)


def test_align_by_pairs_is_prefer(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base, pairs = models.fill("{tune} {pairs}")
    run = fledge.align(base, algorithm="dpo", data=pairs, steps=1, compile="no", precision="fp32")
    assert (run.verb, run.folder) == ("prefer", Path("runs/prefer"))
