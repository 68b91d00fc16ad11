"""Limits of the process, names that no file can have and links in a circle: one sentence, and no
traceback.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.cli.commands import PRETRAIN, TUNE, Cli, Models, process

LIMITED = (
    "-c",
    "import resource, sys\n"
    "from fledge.cli.main import main\n"
    # a module that cannot be loaded is another matter
    "import fledge.recipes.language.pretrain, torch._dynamo\n"
    "name, limit = sys.argv.pop(1), int(sys.argv.pop(1))\n"
    "resource.setrlimit(getattr(resource, name), (limit, limit))\n"
    "main()\n",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "said"), [("RLIMIT_FSIZE 20000", "ulimit -f"), ("RLIMIT_NOFILE 4", "ulimit -n")]
)
def test_a_limit_is_one_sentence_and_the_run_goes_on_without_it(
    limit: str, said: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = [*models.fill(PRETRAIN), "save_every_s=0", "out=run"]
    assert said in process(*limit.split(), *words, folder=tmp_path, module=LIMITED).complaint
    again = "resume run" if (tmp_path / "run" / "config.json").exists() else words
    assert cli(again, folder=tmp_path).code == 0


@pytest.mark.parametrize("out", ["runs/\udcff", "runs/\\u0000"])
def test_a_name_that_cannot_be_is_named(out: str, cli: Cli, models: Models, tmp_path: Path) -> None:
    words = models.fill(PRETRAIN)
    if "u0000" in out:  # no command line can hold one
        (tmp_path / "config.toml").write_text(
            f"out = {json.dumps(out)[:1]}{out}{json.dumps(out)[-1:]}\n"
        )
        words = ["pretrain", "config.toml", *words[1:]]
        assert "has a zero byte" in cli(words, folder=tmp_path).complaint
    else:
        done = process(*words, f"out={out}", folder=tmp_path)
        assert "is not UTF-8" in done.complaint
    assert not (tmp_path / "runs").exists()


def test_links_in_a_circle_are_named(cli: Cli, models: Models, tmp_path: Path) -> None:
    os.symlink("circle", tmp_path / "circle")
    assert (
        "in a circle" in cli([*models.fill(PRETRAIN), "out=circle/run"], folder=tmp_path).complaint
    )
    assert cli([*models.fill(PRETRAIN), "out=circle"], folder=tmp_path).complaint
    assert cli([*models.fill(TUNE), "base=circle"], folder=tmp_path).complaint
    assert cli([*models.fill(TUNE), "data=circle"], folder=tmp_path).complaint
    assert cli("resume circle", folder=tmp_path).complaint
