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
from fledge.recipes.control.config import ControlConfig, choose
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
        ("scale: float = 1.0", "sampling: float = 1.0", "`sampling` is taken"),
        ("scale: float = 1.0", "scale: object = print", "holds what no JSON can"),
        ('colour: str = "blue"', "def __post_init__(self): 1 / 0", "ZeroDivisionError"),
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
    assert len(shown) <= 32
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


def test_a_users_file_is_in_the_lineage_of_what_it_trained(mine: Path, cli: Cli) -> None:
    assert cli(f"{CONTROL} out=run", folder=mine).code == 0
    files = json.loads((mine / "run" / "lineage.json").read_text())["data"]
    assert "mine.py" in json.dumps(files)


def test_each_algorithm_of_a_file_keeps_its_own_default_in_verify(mine: Path, cli: Cli) -> None:
    twice = OWN.replace("class Mine", "class Other").replace(
        "scale: float = 1.0", "scale: float = 2"
    )
    (mine / "mine.py").write_text(OWN + twice)
    told = json.loads(cli("verify mine.py --json", folder=mine).stdout)["rows"]
    assert [row["holds"] for row in told if row["subject"].startswith("Mine")] == [True, True]
    assert [row["holds"] for row in told if row["subject"].startswith("Other")] == [False, False]


def test_a_comparison_leaves_each_its_own_and_is_read_back_as_it_was_written() -> None:
    """What nobody gave is none in config.json, and each algorithm's own when it is trained."""
    given = {"compare": "ppo,dqn", "clip_low": 0.1}
    config = ControlConfig.read(given)
    again = ControlConfig.read(config.model_dump(mode="json"))
    assert again.model_dump() == config.model_dump()
    chosen = choose(again, "dqn")
    assert (chosen.widths, chosen.clip, chosen.schedule) == ((128, 128), 10.0, "linear")
    assert choose(again, "ppo").settings.model_dump()["clip_low"] == 0.1
    # as from the command line, so from Python's verb alone
    alone, read = (
        ControlConfig(algorithm="dqn").composed(),
        ControlConfig.read({"algorithm": "dqn"}),
    )
    assert alone.model_dump() == read.model_dump()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("align reinforce.baseline=none base=nowhere task=reverse", "nowhere does not exist"),
        ("align gspo.toml base=nowhere task=reverse", "nowhere does not exist"),
        ("align algorithm=dpo dpo.beta=0.3 base=nowhere task=reverse", "nowhere does not exist"),
        ("align algorithm=rloo baseline=value base=nowhere task=reverse", "baseline=value cannot"),
        ("control compare=dqn,sac clip_low=0.1", "algorithm=ppo, gail, airl: dqn,sac has none"),
        ("control clip_range=0.1", "clip_low and clip_high"),
    ],
)
def test_whose_a_setting_is_may_be_said(words: str, said: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "gspo.toml").write_text('algorithm = "gspo"\n[gspo]\nclip_low = 0.1\n')
    assert said in cli(words, folder=tmp_path).complaint


def test_a_shell_completes_settings_of_every_algorithm(cli: Cli, tmp_path: Path) -> None:
    script = cli("completion bash", folder=tmp_path).stdout
    assert all(f" {name}=" in script for name in ("clip_low", "gamma", "keep", "n_step", "margin"))
