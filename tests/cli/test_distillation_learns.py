"""A student of `fledge distill` becomes its teacher, by each of the divergences and on its own
answers too.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.commands import Cli

QUICK = "precision=fp32 compile=no"
TASK = "task=reverse shortest=2 longest=3 max_new_tokens=6"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reverses about half of what it is asked to."""
    folder = tmp_path_factory.mktemp("half")
    for command in (
        "pretrain data=python tokenizer=bytes model=nano context=64 steps=150 "
        f"tokens_per_step=2048 out=pretrain {QUICK}",
        (
            f"tune base=pretrain {TASK} steps=900 stop_at_exact_match=0.4 evaluate_every=20 "
            f"learning_rate=3e-3 out=tune {QUICK}"
        ),
    ):
        done = cli(command, folder=folder)
        assert done.code == 0, done.stderr
    return folder / "tune"


@pytest.mark.parametrize("kind", ["sequence", "forward", "reverse", "jsd", "reverse on_policy=0.5"])
def test_a_student_becomes_as_good_as_its_teacher(
    kind: str, cli: Cli, base: Path, tmp_path: Path
) -> None:
    summary = cli(
        f"distill teacher={base} student={base.parent / 'pretrain'} {TASK} kind={kind} steps=400 "
        f"learning_rate=3e-3 out=run {QUICK} --json",
        folder=tmp_path,
    ).result
    assert summary["after"]["teacher_kl"] < 0.1 * summary["before"]["teacher_kl"]
    assert summary["after"]["exact_match"] > summary["teacher"]["exact_match"] - 0.15
