"""The shell of the tasks beside the machine's own: the same commands in a folder of files, and what
is in it afterwards.
"""

from __future__ import annotations

import random
import shlex
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path

import pytest

from fledge.tasks.worlds.shell import Shell, begin, flatten
from fledge.tasks.worlds.shell_commands import Tree
from fledge.tasks.worlds.world import Draws

FILES: Tree = {
    "notes.txt": "amber\nriver\n",
    "docs": {"plan.md": "stone\n", "old": {"log.csv": "amber\n"}},
    "work": {},
}
PATHS = ("notes.txt", "docs", "docs/plan.md", "docs/old", "work", "new.txt", "work/notes.txt", "/")


def make_shell() -> Shell:
    return Shell(deepcopy(FILES), "delete notes.txt", ["rm notes.txt"])


def write_tree(tree: Tree, place: Path) -> None:
    for name, value in tree.items():
        if isinstance(value, dict):
            (place / name).mkdir()
            write_tree(value, place / name)
        else:
            (place / name).write_text(value, encoding="utf-8")


def read_tree(place: Path) -> Tree:
    return {
        each.name: read_tree(each) if each.is_dir() else each.read_text(encoding="utf-8")
        for each in place.iterdir()
    }


def draw_command(draw: random.Random) -> str:
    path = draw.choice
    return draw.choice([
        f"mv {path(PATHS[:-1])} {path(PATHS)}",
        f"cp {path(PATHS[:-1])} {path(PATHS)}",
        f"rm {path(PATHS[:-1])}",
        f"mkdir {path(PATHS[:-1])}",
        f"echo 3 > {path(PATHS[:-1])}",
        f"cd {path(PATHS)}",
    ])  # fmt: skip


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no sh to compare with")
def test_files_are_what_the_machines_own_shell_makes_of_them(tmp_path: Path) -> None:
    draw = random.Random(3)
    for case in range(25):
        root, shell = tmp_path / str(case), make_shell()
        root.mkdir()
        write_tree(FILES, root)
        lines, done = [], []
        for _ in range(8):
            command = draw_command(draw)
            name = command.split()[0]
            reply = shell.act(command)
            done.append(not reply.startswith(f"{name}: "))
            # the root is the case's folder; and ours has no way to move or copy a folder
            words = [
                str(root) + word if word.startswith("/") else word for word in command.split()[1:]
            ]
            if name in ("mv", "cp"):
                words = [shlex.quote(words[0]), shlex.quote(words[1])]
                lines.append(f"[ -f {words[0]} ] && {name} {' '.join(words)}")
            elif name == "rm":
                lines.append(f"if [ -d {words[0]} ]; then rmdir {words[0]}; else rm {words[0]}; fi")
            else:
                lines.append(f"{name} {' '.join(words)}")
            lines.append("echo $?")
        script = "\n".join(f"{line} 2>/dev/null" for line in lines)
        said = subprocess.run(
            ["sh", "-c", script], cwd=root, capture_output=True, text=True, check=False
        ).stdout.split()
        assert [code == "0" for code in said] == done, lines
        assert read_tree(root) == shell.root


def test_what_commands_write() -> None:
    shell = make_shell()
    told = {
        "ls": "docs/ notes.txt work/",
        "ls docs": "old/ plan.md",
        "cat notes.txt": "amber / river",
        "wc -l notes.txt": "2 notes.txt",
        "grep amber": "/docs/old/log.csv /notes.txt",
        "grep amber docs": "/docs/old/log.csv",
        "grep silver": "(nothing)",
        "find log.csv": "/docs/old/log.csv",
        "cd docs/old": "/docs/old",
        "cat ../plan.md": "stone",
        "cat plan.md": "cat: plan.md: no such file or folder",
        "echo two  words": "two words",
        "cat 'a": "sh: a quotation has no end",
        "sudo ls": "sh: sudo: not a command",
        "": "sh: nothing: not a command",
        "rm /docs": "rm: /docs: a folder that is not empty",
        "mkdir /work": "mkdir: /work: is there already",
        "cd /notes.txt": "cd: /notes.txt: not a folder",
        "rm /notes.txt": "(done)",
    }
    for command, reply in told.items():
        assert shell.act(command) == reply
    assert shell.over


def test_no_folder_is_overwritten_by_a_file() -> None:
    shell = make_shell()
    shell.act("mkdir work/notes.txt")
    for name in ("mv", "cp"):
        assert shell.act(f"{name} notes.txt work").startswith(f"{name}: work: a folder")
    assert shell.act("ls work") == "notes.txt/"


def test_what_harms_earns_less() -> None:
    shell = make_shell()
    assert shell.progress == 0.0
    shell.act("rm docs/plan.md")
    assert shell.progress == 0.0
    shell.act("rm notes.txt")
    assert shell.progress == 0.0  # one thing is right and another is broken
    assert not shell.over


@pytest.mark.parametrize("level", range(1, 6))
def test_a_goal_can_be_reached_and_is_not_reached_yet(level: int) -> None:
    for i in range(40):
        shell = begin(level, Draws(f"{level} {i}"))
        assert not shell.over
        for number, command in enumerate(shell.solve(), 1):
            reply = shell.act(command)
            assert not reply.startswith(f"{command.split()[0]}: ")
            assert shell.over == (number == len(shell.solution))
        assert flatten(shell.root) == flatten(shell.wanted)
