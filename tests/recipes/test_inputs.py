"""The files behind a name are those that Python opens, found out by asking Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fledge.recipes.inputs import list_files

# Runs what a user's file is, and prints every file of the folder that Python ran for it.
ASK = """
import runpy, sys
folder, what = sys.argv[1:]
sys.path.insert(0, folder)
try:
    ran = runpy.run_path(what) if what.endswith(".py") else __import__(what)
finally:
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    print(*sorted(file for file in files if file and file.startswith(folder)), sep="\\n")
"""

PROJECT = {
    "rewards/__init__.py": "",
    "rewards/core.py": "from .impl import f\nfrom . import other\nfrom .deep import down\n",
    "rewards/impl.py": "def f(): return 1\n",
    "rewards/other.py": "import helper\n",
    "rewards/unused.py": "",
    "rewards/helper.py": "",  # not the one that other.py imports
    "rewards/deep/__init__.py": "from ..sideways import g\n",
    "rewards/deep/down.py": "from ..impl import f\n",
    "rewards/sideways.py": "def g(): return 2\n",
    "helper.py": "",
    "plain/module.py": "X = 1\n",  # in a folder without an __init__.py
    "unused.py": "",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def run_by_python(folder: Path, what: str) -> set[str]:
    ran = subprocess.run(
        [sys.executable, "-c", ASK, str(folder), what],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return {str(Path(line).relative_to(folder)) for line in ran.stdout.splitlines()}


@pytest.mark.parametrize(
    "source",
    [
        "from rewards.core import f",
        "import rewards.deep.down",
        "from rewards import core",
        "from rewards.deep import *",
        "import plain.module, helper",
        "from plain import module as m",
    ],
)
def test_a_task_brings_every_module_that_it_runs(source: str, project: Path) -> None:
    (project / "task.py").write_text(source + "\n")
    read = {str(file.relative_to(project)) for file in list_files(str(project / "task.py"))}
    wanted = run_by_python(project, "task.py")
    assert len(wanted) > 0
    assert read == wanted | {"task.py"}


def test_a_module_is_looked_up_from_the_present_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.chdir(project)
    read = {str(file) for file in list_files("rewards.core:Mine-v0")}
    assert read == run_by_python(project, "rewards.core")
    assert {str(file) for file in list_files("rewards:Mine-v0")} == {"rewards/__init__.py"}
    (project / "python.py").write_text("")
    for name in ("python:rewards.core.Mine", ":Mine-v0", "no.such.module:Mine-v0", "CartPole-v1"):
        assert list_files(name) == []


def test_a_linked_file_imports_from_where_it_lies(project: Path, tmp_path: Path) -> None:
    (project / "task.py").write_text("import helper\n")
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "task.py"
    link.symlink_to(project / "task.py")
    assert list_files(str(link)) == [project / "task.py", project / "helper.py"]


def test_what_python_cannot_read_is_left_to_python(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def (\n")
    (tmp_path / "task.py").write_text("import broken\nfrom ..... import broken\n")
    assert list_files(str(tmp_path / "task.py")) == [tmp_path / "task.py", tmp_path / "broken.py"]


def test_games_are_the_files_of_their_task(tmp_path: Path) -> None:
    for name in ("b.z8", "a.ulx", "notes.txt"):
        (tmp_path / name).write_bytes(b"\0")
    assert [file.name for file in list_files(f"textworld:{tmp_path}")] == ["a.ulx", "b.z8"]
    assert list_files(f"textworld:{tmp_path}/b.z8") == [tmp_path / "b.z8"]
    assert list_files("textworld:nowhere") == []
