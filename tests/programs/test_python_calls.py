"""Where a kernel forbids nothing, Python does: no sockets, no processes, no files outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REFUSED = (
    "import socket; socket.socket().connect(('127.0.0.1', 9))",
    "import subprocess; subprocess.run(['true'])",
    "import os; os.system('true')",
    "import os; os.fork()",
    "open('/etc/passwd')",
    "open('/usr/was-here', 'w')",
    "import os; os.remove('/etc/passwd')",
    "import os; os.listdir('/root')",
    "import os; os.listdir('/usrs')",  # begins like /usr, and is not below it
    "import ctypes; ctypes.CDLL(None)",
)


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_refused_raises(line: str, tmp_path: Path) -> None:
    assert "PermissionError: a program may not" in run(line, tmp_path).stderr


def test_its_own_folder_and_pythons_own_files_are_open(tmp_path: Path) -> None:
    ran = run("open('own', 'w').write('a'); import json; print(open('own').read())", tmp_path)
    assert ran.stdout == "a\n", ran.stderr


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; from fledge.programs.python_calls import close_python\n"
        f"close_python(['/usr', sys.prefix, sys.base_prefix], {str(folder)!r})\n{line}\n"
    )
    words = [sys.executable, "-c", code]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
