"""`fledge scale` by several ranks: each makes its share of the runs, killed or not, and every run
is what its own command makes of it.
"""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

from tests.cli.commands import Cli, Models
from tests.cli.test_scale import SWEEP, check_against_its_own_command, write_small_plan
from tests.cli.together import start_together, together

from fledge.evaluate.scaling.point_file import read_points


def test_ranks_share_a_sweep_and_go_on_with_it(cli: Cli, models: Models, tmp_path: Path) -> None:
    """One rank is killed on its way; two others go on, repeat no finished run, and end with a
    law of all.
    """
    words, plan = models.fill(SWEEP), tmp_path / "swept/plan.json"
    assert cli(words, folder=tmp_path, signal=signal.SIGKILL, once=plan).code == -signal.SIGKILL
    write_small_plan(plan)
    ranks = start_together(["resume", "swept"], world=2, folder=tmp_path)
    end = time.monotonic() + 60
    while len(list(tmp_path.glob("swept/*x*/summary.json"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    ranks.kill(1)
    ended = ranks.wait()
    assert ended[1].code == -9
    assert ended[0].code == 1
    assert "rank 1 has ended without a word" in ended[0].stderr
    finished = [path.parent for path in tmp_path.glob("swept/*x*/summary.json")]
    before = {path: path.stat().st_mtime_ns for run in finished for path in run.glob("*.json*")}
    assert before
    ended = together(["resume", "swept", "--json"], world=2, folder=tmp_path)
    assert [done.code for done in ended] == [0, 0], [done.stderr for done in ended]
    assert ended[1].stdout == ""
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    told = json.loads(ended[0].stdout)
    assert told["steps"] == len(read_points(tmp_path / "swept/points.csv")) == 9
    check_against_its_own_command(tmp_path / "swept/1x24-12", cli, tmp_path)


def test_a_law_of_runs_that_there_are_is_not_shared(tmp_path: Path) -> None:
    ended = together("scale runs.csv", world=2, folder=tmp_path)
    assert {done.code for done in ended} == {2}
    assert "is the work of one process: leave torchrun out" in ended[0].stderr
