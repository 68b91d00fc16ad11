"""What code of a user's draws, in its own process or in the trainer's, follows the run's seed and
goes on where it was.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.commands import ALIGN, Cli, Models, outcome

MINE = """
import os, random, sys
import numpy as np
import torch
sys.path.insert(0, EXAMPLES)
from good_baseline import GoodBaseline

class Mine(GoodBaseline):
    def update(self, batch):
        DEED
        drawn = random.random() + np.random.random() + float(torch.rand(()))
        return super().update(batch) | {'drawn': drawn}
"""
AT_STEP_3 = "if os.path.exists('run/checkpoints/00000002'): "
EXAMPLES = repr(str(Path(__file__).parents[2] / "examples"))


def test_an_algorithm_that_draws_forks_or_leaves_ends_with_the_same_bits(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    def write(deed: str) -> None:
        (tmp_path / "mine.py").write_text(MINE.replace("EXAMPLES", EXAMPLES).replace("DEED", deed))

    words = [*models.fill(ALIGN), "algorithm=./mine.py:Mine", "save_every_s=0"]
    write("pass")
    assert cli([*words, "out=whole"], folder=tmp_path).code == 0
    write("os.fork()")
    forked = cli([*words, "out=forked"], folder=tmp_path)
    assert forked.code == 0, forked
    assert outcome(tmp_path / "forked") == outcome(tmp_path / "whole")
    write(AT_STEP_3 + "os._exit(0)")
    said = cli([*words, "out=run"], folder=tmp_path).complaint
    assert "mine.py line 10: update called os._exit(0) on a batch of samples" in said
    write("pass")
    assert cli("resume run accept_changes=true", folder=tmp_path).code == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


# By chance it ends its process: on a model's answers, never on what the start-up check says.
JUDGE = """
import random
def prompts():
    return ['say ' + a + b for a in 'abcdef' for b in 'uvwxyz']
def score(prompt, completion):
    import numpy  # late: numpy's generator is seeded as it is imported
    sampled = completion and not completion.startswith(('say', 'tbz', '?', '~'))
    if sampled and random.random() < 0.06:
        import os
        os.kill(os.getpid(), 9)
    return random.gauss(0, 5) + numpy.random.random()
"""


def test_a_judge_that_draws_and_dies_is_killed_and_resumed_to_the_same_bits(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(JUDGE)
    words = [
        *models.fill(ALIGN.replace("{letters}", "mine.py")),
        "save_every_s=0",
        "judge_failed_score=-1",
    ]
    whole = cli([*words, "out=whole"], folder=tmp_path)
    assert whole.code == 0, whole.stderr
    rows = [
        json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    ]
    shares = [row["judge_failed"] for row in rows if "reward" in row]
    assert len(shares) == 5
    assert 0 < sum(shares) < 1
    told = [
        line
        for line in whole.stdout.splitlines()
        if "mine.py: score() ended its process with signal SIGKILL" in line
    ]
    assert len(told) == 1
    assert "the answer gets -1" in told[0]
    killed = cli(
        [*words, "out=run"],
        folder=tmp_path,
        signal=9,
        once=tmp_path / "run" / "checkpoints" / "00000002",
    )
    assert killed.code == -9, killed
    assert cli("resume run", folder=tmp_path).code == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
