"""What comes to no number says so in one sentence and exit code 1, and no NaN is ever printed or
written as JSON.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.cli.commands import Cli, Models

from fledge.cli import main as command_line
from fledge.cli.verbs import VERBS, Verb
from fledge.recipes.studies.verify import VerifyConfig


@pytest.fixture(params=[math.nan, math.inf, 1e30])
def spoilt(request: pytest.FixtureRequest, models: Models, tmp_path: Path) -> Path:
    """A copy of a model, one of whose weights is none, or overflows what follows it."""
    folder = tmp_path / "spoilt"
    folder.mkdir()
    for file in (models.folder / "tune" / "model").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], request.param)
    weights["model.embed_tokens.weight"] *= 1e10
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_a_measurement_that_is_no_number_is_a_sentence(
    spoilt: Path, cli: Cli, models: Models
) -> None:
    words = ["evaluate", f"base={spoilt}", *models.fill("data={text} whole=true")]
    for form in (words, [*words, "--json"]):
        done = cli(form, folder=models.folder)
        assert "which is no number" in done.diverged
        assert done.stdout == ""
    task = cli(
        ["evaluate", f"base={spoilt}", *models.fill("task={letters} prompts=4")],
        folder=models.folder,
    )
    assert "the logits are not finite" in task.complaint


def test_the_one_object_of_a_command_is_json_whatever_it_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = {
        "figure": math.nan,
        "rows": [{"bound": math.inf, "text": "NaN"}, (1.5, -math.inf)],
        "holds": False,
    }
    monkeypatch.setattr(Verb, "function", property(lambda self: lambda config, show: measured))
    assert command_line.run_verb(VERBS["verify"], VerifyConfig(), as_json=True) == 1

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    said = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert said == {
        "figure": None,
        "rows": [{"bound": None, "text": "NaN"}, [1.5, None]],
        "holds": False,
    }
