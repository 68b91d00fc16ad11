"""What comes to no number says so in one sentence and exit code 1, and no NaN is ever printed or
written as JSON.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.cli.commands import Cli, Models

from fledge.cli import main as command_line
from fledge.cli.verbs import VERBS, Verb
from fledge.recipes.studies.verify import VerifyConfig
from fledge.text.tokenizer import load_tokenizer


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


def test_a_model_that_comes_to_no_number_is_one_sentence_wherever_it_is_looked_at(
    spoilt: Path, cli: Cli, models: Models
) -> None:
    said = set()
    for words in (
        "evaluate data={text} whole=true",
        "evaluate data={text} whole=true --json",
        "evaluate task={letters} prompts=4",
        "sample prompt=a",
        "sample prompt=a beams=2",
        "sample prompt=a --json",
        "chat",
    ):
        verb, *given = models.fill(words)
        done = cli([verb, f"base={spoilt}", *given], folder=models.folder, stdin="hello\n")
        said.add(done.complaint)
        assert done.stdout == ""
    (sentence,) = said
    assert sentence.startswith(f"{spoilt} cannot be used (")
    assert "give a model from before its training came to that" in sentence


def test_a_draft_that_comes_to_no_number_is_named(spoilt: Path, cli: Cli, models: Models) -> None:
    words = models.fill("sample base={tune} prompt=a")
    done = cli([*words, f"draft={spoilt}"], folder=models.folder)
    assert done.complaint.startswith(f"{spoilt} cannot be used (")


def test_a_text_on_which_a_sound_model_overflows_has_no_loss(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    """One letter alone has a part along the last dimension, which its layer makes infinite."""
    folder = tmp_path / "half_sound"
    shutil.copytree(models.folder / "tune" / "model", folder)
    [letter] = load_tokenizer(folder).encode("e")
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][:, -1] = 0.0
    weights["model.embed_tokens.weight"][letter, -1] = 10.0
    weights["model.layers.0.self_attn.o_proj.weight"][-1] = 0.0
    for name in ("gate_proj", "up_proj"):
        weights[f"model.layers.0.mlp.{name}.weight"][:, -1] = 1e38
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    words = ["evaluate", f"base={folder}", *models.fill("data={text} whole=true")]
    assert "which is no number" in cli(words, folder=models.folder).diverged
    # whoever speaks may never come to that letter
    sampled = ["sample", f"base={folder}", "choices=a"]
    assert cli(sampled, folder=models.folder).stdout == "a\n"


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
