"""The settings of an algorithm are fields of the verb that runs it: the package's own, and those of
a file of the user's, in texts, in worlds, in `fledge verify` and from Python.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import Cli, Models

from fledge.algorithms.registry import names_of
from fledge.cli.verbs import VERBS
from fledge.recipes.control.config import ControlConfig
from fledge.recipes.language.align import AlignConfig

# REINFORCE without a baseline, the reward times `scale`; the other setting is read by nobody.
OWN = """\
from dataclasses import dataclass

import torch

from fledge.fit import nll, total


class Mine:
    gradient_claim = "unbiased"

    @dataclass(frozen=True)
    class Settings:
        scale: float = 1.0
        colour: str = "blue"

    def __init__(self, policy, learner, stopwatch, settings):
        self.policy, self.learner, self.settings = policy, learner, settings

    def update(self, batch):
        rows = self.learner.count_rows(batch)

        def loss(part):
            logp = self.policy.log_prob(part.obs, part.action, part.chosen)
            reward = torch.where(part.chosen, part.reward, 0.0).sum(1, keepdim=True)
            back = self.settings.scale * reward.expand(logp.shape)
            return total(nll(logp, back), part.chosen, rows), {}

        return self.learner.step(loss, batch) | {"scale": self.settings.scale}
"""
ALIGN = (
    "align base={tune} task={letters} algorithm=mine.py:Mine steps=2 prompts_per_step=2 "
    "samples_per_prompt=2 max_new_tokens=4 evaluation_prompts=4 precision=fp32"
)
CONTROL = (
    "control world=gridworld algorithm=mine.py:Mine steps=64 copies=2 steps_per_batch=16 "
    "evaluation_episodes=2 pictures=false"
)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(OWN)
    return tmp_path


def logged(run: Path) -> set[float]:
    """What the algorithm said its setting was, in every step."""
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {row["scale"] for row in rows if "scale" in row}


@pytest.mark.parametrize("words", [ALIGN, CONTROL])
def test_a_setting_of_a_users_own_reaches_it_and_the_run_keeps_it(
    words: str, mine: Path, cli: Cli, models: Models
) -> None:
    plain = cli([*models.fill(words), "out=plain"], folder=mine)
    assert plain.code == 0, plain.stderr
    assert logged(mine / "plain") == {1.0}
    told = cli([*models.fill(words), "scale=0.25", "out=told"], folder=mine)
    assert told.code == 0, told.stderr
    assert logged(mine / "told") == {0.25}
    assert json.loads((mine / "told" / "config.json").read_text())["config"]["scale"] == 0.25
    (mine / "quarter.toml").write_text("scale = 0.5\n")
    verb, *rest = models.fill(words)
    filed = cli([verb, "quarter.toml", *rest, "out=filed"], folder=mine)
    assert filed.code == 0, filed.stderr
    assert logged(mine / "filed") == {0.5}
    wrong = cli([*models.fill(words), "scale=blue"], folder=mine)
    assert wrong.code == 2
    assert "scale=blue cannot be" in wrong.complaint


def test_help_shows_a_users_settings_and_verify_takes_them(mine: Path, cli: Cli) -> None:
    for verb in ("align", "control"):
        lines = cli(f"{verb} --help algorithm=mine.py:Mine", folder=mine).stdout.splitlines()
        [line] = [line for line in lines if line.startswith("scale ")]
        assert line.split()[1:] == ["number", "1"]
    assert any(
        line.startswith("colour ")
        for line in cli("verify --help mine.py", folder=mine).stdout.splitlines()
    )
    assert cli("verify mine.py", folder=mine).code == 0
    double = cli("verify mine.py scale=2", folder=mine)
    assert double.code == 1
    assert "unbiased up to scale 2" in " ".join(double.stdout.split())
    near = cli("verify mine.py scal=2", folder=mine)
    assert near.code == 2
    assert "perhaps you meant `scale`" in near.complaint


def test_what_is_wrong_with_settings_of_a_users_own_is_one_sentence(
    mine: Path, cli: Cli, models: Models
) -> None:
    for old, new, said in (
        ("scale: float = 1.0", "scale: float", "Every setting needs a default"),
        ("scale: float = 1.0", "steps: int = 3", "the verb has a field of that name"),
        ("    @dataclass(frozen=True)\n", "", "is no dataclass"),
    ):
        (mine / "mine.py").write_text(OWN.replace(old, new))
        done = cli([*models.fill(ALIGN), "out=run"], folder=mine)
        assert done.code == 2, done.stdout
        assert said in done.complaint
        assert not (mine / "run").exists()


@pytest.mark.parametrize(
    ("verb", "algorithm"),
    [
        *(("align", name) for name in names_of("texts")),
        *(("prefer", name) for name in names_of("pairs")),
        *(("control", name) for name in names_of("worlds")),
    ],
)
def test_every_algorithm_joins_its_fields_to_the_verbs_without_a_clash(
    verb: str, algorithm: str
) -> None:
    """Every field has a meaning; nothing is told twice."""
    composed = VERBS[verb].config.compose({"algorithm": algorithm})
    assert all(field.description for field in composed.model_fields.values())
    assert composed.model_fields["algorithm"].default == algorithm


def test_the_help_of_an_algorithm_shows_its_fields_and_no_others(cli: Cli, tmp_path: Path) -> None:
    lines = cli("align --help algorithm=grpo", folder=tmp_path).stdout.splitlines()
    known = AlignConfig.compose({"algorithm": "grpo"}).model_fields
    shown = {line.split()[0] for line in lines if line.strip() and line.split()[0] in known}
    assert {"base", "clip_low", "average", "redraws", "temperature"} <= shown
    assert len(shown) <= 30
    assert not {"gae_lambda", "critic", "threshold"} & {line.split(" ")[0] for line in lines}


def test_from_python_fields_are_read_as_the_command_line_reads_them() -> None:
    given = {"base": "runs/tune", "task": "reverse", "algorithm": "gspo", "clip_low": 0.1}
    settings = AlignConfig.read(given).settings
    assert settings.model_dump()["clip_low"] == 0.1
    assert settings.model_dump()["clip_high"] == 4e-4  # GSPO's own
    assert (
        ControlConfig.read({"algorithm": "dqn", "n_step": 5}).settings.model_dump()["n_step"] == 5
    )
    with pytest.raises(ValueError, match="n_step"):
        ControlConfig.read({"algorithm": "ppo", "n_step": 5})
