"""Threads wait asleep: what is said to OpenMP before torch is loaded; what the user says stands."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fledge.waiting import SETS_WAITING, TURNS

SAY = "import os; print(os.environ.get('GOMP_SPINCOUNT'))"


def run(code: str, **environment: str) -> str:
    plain = {name: value for name, value in os.environ.items() if name not in SETS_WAITING}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env=plain | environment, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_it_is_said_by_whoever_imports_fledge_first() -> None:
    assert run(f"import fledge; {SAY}") == TURNS


@pytest.mark.parametrize("name", SETS_WAITING)
def test_what_the_user_has_said_stands(name: str) -> None:
    said = run(f"import fledge; {SAY}", **{name: "7"})
    assert said == ("7" if name == "GOMP_SPINCOUNT" else "None")


def test_nothing_is_claimed_where_torch_has_read_it_already() -> None:
    assert run(f"import sys; sys.modules['torch'] = sys; import fledge; {SAY}") == "None"
