"""fledge as somebody installs it who has the folder: a fresh environment, then runs and pages from
another folder, without the source.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from fledge import __version__

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "fledge"
TINY = (
    "layers=1 width=16 heads=2 context=64 steps=2 tokens_per_step=128 evaluation_rows=2 "
    "precision=fp32 compile=no"
)


def run(command: str, folder: Path) -> str:
    """In an environment that knows nothing of the source folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        shlex.split(command), cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return done.stdout


def find_told() -> str:
    """The line of the README that installs."""
    [told] = [
        line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("pip ")
    ]
    return told


@pytest.mark.slow
def test_what_the_readme_installs_runs_from_another_folder(tmp_path: Path) -> None:
    place, work = tmp_path / "fresh", tmp_path / "elsewhere"
    work.mkdir()
    venv.create(place, with_pip=True)
    copy = tmp_path / "fledge"
    files = run("git ls-files --cached --others --exclude-standard -z", ROOT).split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    told = find_told()
    run(f"{place}/bin/python -m {told}", copy)
    fledge = f"{place}/bin/fledge"
    assert run(f"{fledge} --version", work).strip() == f"fledge {__version__}"
    where = run(f"{place}/bin/python -c 'import fledge; print(fledge.__file__)'", work)
    assert where.startswith(str(place))
    (work / "text.txt").write_text("the cat sat on the mat. " * 200)
    run(f"{fledge} pretrain data=text.txt tokenizer=bytes {TINY}", work)
    run(f"{fledge} report runs/pretrain", work)
    assert "<svg" in (work / "runs" / "pretrain" / "report.html").read_text()
    run(f"{fledge} show attention runs/pretrain", work)
    run(f"{fledge} control world=gridworld algorithm=q_learning steps=400 pictures=false", work)
    assert "demo" in run(f"{fledge} --help", work)


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    run(f"{sys.executable} -m pip wheel --no-deps -w {shlex.quote(str(tmp_path))} .", ROOT)
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"fledge-{__version__}-")
    held = set(zipfile.ZipFile(wheel).namelist())
    files = {
        f"fledge/{file.relative_to(SOURCE).as_posix()}"
        for file in SOURCE.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {name for name in held if name.startswith("fledge/")} == files
    assert {"fledge/py.typed", "fledge/report/report.css"} <= files
