"""A task file of the user's own that does something wrong, at the start or in the middle of a run,
is named with its line.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.commands import ALIGN, REINFORCE, STAGES, Cli, Models, outcome

PROMPTS = "def prompts():\n    return ['say ' + a + b for a in 'abcdef' for b in 'uvwxyz']\n"

WRONG = {
    "raises": (
        "def score(prompt, completion):\n    return 1 / 0\n",
        ["mine.py line 4", "score() raised ZeroDivisionError: division by zero", "'say "],
    ),
    "exits": (
        "import sys\ndef score(prompt, completion):\n    sys.exit(0)\n",
        ["mine.py line 5", "SystemExit"],
    ),
    "is not a number": (
        "def score(prompt, completion):\n    return float('nan')\n",
        ["the score was nan", "a finite number"],
    ),
    "is infinite": (
        "def score(prompt, completion):\n    return float('inf')\n",
        ["the score was inf"],
    ),
    "is a word": ("def score(prompt, completion):\n    return 'good'\n", ["the score was 'good'"]),
    "is nothing": ("def score(prompt, completion):\n    pass\n", ["the score was None"]),
    "is a list that is too short": (
        "def scores(prompts, completions):\n    return [0.5] * (len(prompts) - 1)\n",
        ["scores() returned", "one for each completion"],
    ),
    "is no list": (
        "def scores(prompts, completions):\n    return 0.5\n",
        ["a value of type float", "a list of numbers"],
    ),
    "has no judge": ("", ["no function score(prompt, completion)"]),
    "is no Python": ("def score(prompt, completion)\n", ["mine.py line 3 is not valid Python"]),
    "raises as it loads": ("raise ValueError('no')\n", ["mine.py line 3", "ValueError: no"]),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_task_file_that_is_wrong_is_named_before_there_is_a_run(
    wrong: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    source, parts = WRONG[wrong]
    (tmp_path / "mine.py").write_text(PROMPTS + source)
    command = [*models.fill(ALIGN.replace("{letters}", "./mine.py")), "out=run"]
    said = cli(command, folder=tmp_path).complaint
    assert all(part in said for part in parts), said
    assert not (tmp_path / "run").exists()
    quiet = cli([*command, "--json"], folder=tmp_path)
    assert quiet.stdout == ""
    assert quiet.complaint == said


# From a step's first answer on: a figure is written before the next step begins, a checkpoint
# appears in the midst of it, so that a part of its answers would count as failed.
BREAKS = """
from pathlib import Path

def score(prompt, completion):
    figures = Path('FIGURES')
    if figures.exists() and '"step": 3,' in figures.read_text():
        TROUBLE
    return sum(c.islower() for c in completion) / max(1, len(completion))
"""


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("raise OSError('the judge is away')", "the judge is away"),
        ("return float('nan')", "was nan"),
        (
            "__import__('os').kill(__import__('os').getpid(), 9)",
            "ended its process with signal SIGKILL",
        ),
    ],
)
@pytest.mark.parametrize("algorithm", ["align ppo", "align reinforce"])
def test_a_judge_that_breaks_in_the_middle_of_a_run_stops_it_and_can_be_mended(
    algorithm: str, trouble: str, said: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = [
        *models.fill(STAGES[algorithm].replace("{letters}", "./mine.py")),
        "save_every_s=0",
        "steps=8",
    ]
    judge = PROMPTS + BREAKS.replace("TROUBLE", trouble)
    (tmp_path / "mine.py").write_text(judge.replace("FIGURES", "never"))
    assert cli([*words, "out=whole"], folder=tmp_path).code == 0
    figures = tmp_path / "run" / "metrics.jsonl"
    (tmp_path / "mine.py").write_text(judge.replace("FIGURES", str(figures)))
    assert said in cli([*words, "out=run"], folder=tmp_path).complaint
    assert (tmp_path / "run" / "checkpoints" / "00000003").exists()
    (tmp_path / "mine.py").write_text(judge.replace("FIGURES", "never"))
    assert "mine.py has changed" in cli("resume run", folder=tmp_path).complaint
    resumed = cli("resume run accept_changes=true", folder=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_a_loss_that_is_no_number_stops_a_run_with_its_checkpoint_intact(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = [
        *models.fill(REINFORCE),
        "out=run",
        "learning_rate=1e9",
        "warmup_steps=0",
        "save_every_s=0",
        "clip=0",
        "steps=50",
    ]
    said = cli(words, folder=tmp_path).diverged
    assert "try a lower `learning_rate`" in said


@pytest.mark.parametrize("stage", ["tune", "reward"])
def test_a_last_step_whose_weights_overflow_is_no_success(
    stage: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    """Loss and gradient of a step are in order before it; after the last one nothing asks again,
    and NaN would be saved as a model.
    """
    words = [*models.fill(STAGES[stage]), "warmup_steps=0", "save_every_s=0", "out=run"]
    said = cli([*words, "learning_rate=1e37", "steps=1"], folder=tmp_path).diverged
    assert "try a lower `learning_rate`" in said
    assert not (tmp_path / "run" / "model").exists()
    assert not list((tmp_path / "run" / "checkpoints").glob("[0-9]*"))


@pytest.mark.parametrize("stage", [each for each in STAGES if not each.startswith("fit")])
def test_a_learning_rate_that_is_absurd_ends_in_one_sentence(
    stage: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    more = [] if stage.startswith("control") else ["warmup_steps=0", "steps=30"]
    words = [*models.fill(STAGES[stage]), "learning_rate=1e9", "clip=0", *more, "out=run"]
    done = cli(words, folder=tmp_path)
    if done.code:
        assert "learning_rate" in done.diverged


WORLD = """
import ctypes
import gymnasium
import numpy as np

class World(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.steps == 40:
            DEED
        return np.zeros(2, np.float32), 1.0, False, self.steps % 10 == 0, {}
"""


@pytest.mark.parametrize(
    ("process", "deed", "said"),
    [
        ("trainer", "import os; os._exit(0)", "failed in copy 0 (called os._exit(0), "),
        ("own", "ctypes.string_at(0)", "failed as one of its processes was ended from outside"),
    ],
)
def test_a_world_that_exits_or_crashes_ends_in_a_sentence(
    process: str, deed: str, said: str, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(WORLD.replace("DEED", deed))
    words = (
        "control world=./mine.py:World algorithm=a2c copies=2 steps_per_batch=8 steps=400 "
        "evaluation_episodes=2"
    )
    done = cli(
        f"{words} world_process={process} save_every_s=0 pictures=false out=run", folder=tmp_path
    )
    assert said in done.complaint
    assert list((tmp_path / "run" / "checkpoints").iterdir())
