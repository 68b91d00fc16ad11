"""The shell of a small operating system: files in folders, the usual commands, and something that
is to be done to them.
"""

from __future__ import annotations

import shlex
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property

from fledge.tasks.worlds.shell_commands import COMMANDS, Refused, Tree, list_paths
from fledge.tasks.worlds.world import Draws, World

STEMS: tuple[str, ...] = (
    "notes",
    "draft",
    "plan",
    "list",
    "report",
    "letter",
    "data",
    "log",
    "recipe",
    "diary",
)
ENDS = ("txt", "md", "csv")
FOLDERS: tuple[str, ...] = ("docs", "work", "old", "pictures", "music", "home", "tmp", "backup")
WORDS: tuple[str, ...] = (
    "amber", "river", "stone", "paper", "candle", "forest", "silver", "garden", "winter", "copper",
    "harbour", "meadow", "thunder", "velvet", "marble", "cotton",
)  # fmt: skip


@dataclass
class Shell:
    """root: folders as dicts, files as their texts. here: the working folder, as a path. solution:
    commands from the root that make the files what they shall be.
    """

    root: Tree
    goal: str
    solution: list[str]
    here: list[str] = field(default_factory=list)

    @cached_property
    def wanted(self) -> Tree:
        """What the files shall be. First asked for before anything was done: most beginnings that
        are drawn belong to another split, and nothing is done in them.
        """
        after = deepcopy(self.root)
        for command in self.solution:
            COMMANDS[command.split()[0]](after, [], shlex.split(command)[1:])
        return after

    @cached_property
    def apart(self) -> int:
        """Places that were not as wanted, at the beginning."""
        return count_differences(self.root, self.wanted)

    @property
    def opening(self) -> str:
        return (
            f"Goal: {self.goal}.\nYou are in a shell, in /.\n"
            f"Say one command: {', '.join([*COMMANDS, 'cd'])}."
        )

    @property
    def layout(self) -> str:
        return f"{self.goal} {self.root}"

    @property
    def over(self) -> bool:
        return self.progress == 1.0

    @property
    def progress(self) -> float:
        """How much fewer places differ from what is wanted than did at the beginning."""
        return max(0.0, 1.0 - count_differences(self.root, self.wanted) / self.apart)

    def act(self, command: str) -> str:
        """What the command writes; errors as its own name and a reason."""
        assert self.apart  # known before anything changes
        try:
            name, *words = shlex.split(command) or [""]
        except ValueError:
            return "sh: a quotation has no end"
        try:
            if name == "cd":
                return self._enter(words)
            if name not in COMMANDS:
                return f"sh: {name or 'nothing'}: not a command"
            return COMMANDS[name](self.root, self.here, words) or "(done)"
        except Refused as reason:
            return f"{name}: {reason}"

    def solve(self) -> list[str]:
        return self.solution

    def _enter(self, words: list[str]) -> str:
        path = list_paths(self.here, words[0]) if words else []
        place: Tree | str = self.root
        for part in path:
            if not isinstance(place, dict) or part not in place:
                raise Refused(f"{words[0]}: no such folder")
            place = place[part]
        if isinstance(place, str):
            raise Refused(f"{words[0]}: not a folder")
        self.here = path
        return "/" + "/".join(path)


def count_differences(one: Tree, other: Tree) -> int:
    """Places, in either tree, where the two do not hold the same."""
    flat, against = flatten(one), flatten(other)
    return sum(flat.get(path) != against.get(path) for path in flat.keys() | against.keys())


def flatten(tree: Tree, before: str = "") -> dict[str, str]:
    """Every file with its text by its path, every folder by its path and a stroke."""
    said: dict[str, str] = {}
    for name, value in tree.items():
        path = f"{before}/{name}"
        if isinstance(value, dict):
            said |= {f"{path}/": ""} | flatten(value, path)
        else:
            said[path] = value
    return said


def begin(level: int, draws: Draws) -> Shell:
    """Level 1: one command on files of the folder one stands in. 2: files in other folders. 3: the
    file is known by a word in it. 4: something is counted and written down. 5: two things to do.
    """
    root: Tree = {}
    files = [f"{stem}.{draws.one(ENDS)}" for stem in draws.several(STEMS, 3)]
    folders = draws.several(FOLDERS, 2)
    used = draws.several(WORDS, 9)
    for number, name in enumerate(files):
        text = "".join(f"{word}\n" for word in used[3 * number :][: 1 + draws.integer(3)])
        place = root
        if level >= 2 and number != 1:
            place = root.setdefault(folders[number % 2], {})
            assert isinstance(place, dict)
        place[name] = text
    for folder in folders:
        root.setdefault(folder, {})
    paths = {p.rsplit("/")[-1]: p[1:] for p in flatten(root) if not p.endswith("/")}
    free = f"{draws.one([s for s in STEMS if not any(f.startswith(s) for f in files)])}.txt"
    if level <= 2:
        goal, solution = draw_deed(draws, paths, folders, files[0], free)
        if files[0] in goal:
            solution = [*find(paths, files[0]), *solution]
    elif level == 3:
        goal, solution = draw_search(draws, root, paths, folders, files)
    elif level == 4:
        goal, solution = draw_count(root, paths, files[draws.integer(3)], free)
    else:
        first, second = files[0], files[1]
        goal, solution = draw_deed(draws, paths, folders, first, free)
        goal = f"{goal}, and delete {second}"
        finds = [step for name in (first, second) if name in goal for step in find(paths, name)]
        solution = [*finds, *solution, f"rm {paths[second]}"]
    return Shell(root, goal, solution)


def find(paths: dict[str, str], name: str) -> list[str]:
    """How one learns where it is, if it is in no folder that one stands in."""
    return [] if paths[name] == name else [f"find {name}"]


Deed = tuple[str, list[str]]  # in words, and as commands from the root


def draw_deed(
    draws: Draws, paths: dict[str, str], folders: list[str], name: str, free: str
) -> Deed:
    """Something to do with a file whose name is told. free: a name that no file has."""
    path = paths[name]
    beside = f"{path[: -len(name)]}{free}"
    other = next(folder for folder in folders if not path.startswith(folder + "/"))
    fresh = draws.one([folder for folder in FOLDERS if folder not in folders])
    return draws.one([
        (f"delete {name}", [f"rm {path}"]),
        (f"rename {name} to {free}", [f"mv {path} {beside}"]),
        (f"copy {name} into {other}", [f"cp {path} {other}"]),
        (f"move {name} into {other}", [f"mv {path} {other}"]),
        (f"make a folder {fresh} in /", [f"mkdir {fresh}"]),
    ])  # fmt: skip


def draw_search(
    draws: Draws, root: Tree, paths: dict[str, str], folders: list[str], files: list[str]
) -> Deed:
    """The same with a file that is known by a word in it alone."""
    name = draws.one(files)
    word = flatten(root)[f"/{paths[name]}"].split()[0]
    path = paths[name]
    other = next(folder for folder in folders if not path.startswith(folder + "/"))
    find = f"grep {word} /"
    return draws.one([
        (f"delete the file that holds the word {word}", [find, f"rm {path}"]),
        (f"move the file that holds the word {word} into {other}", [find, f"mv {path} {other}"]),
    ])  # fmt: skip


def draw_count(root: Tree, paths: dict[str, str], name: str, free: str) -> Deed:
    """Lines, counted and written into a file."""
    lines = flatten(root)[f"/{paths[name]}"].count("\n")
    goal = f"write how many lines {name} has into {free} in /"
    return goal, [*find(paths, name), f"wc {paths[name]}", f"echo {lines} > {free}"]


SHELL = World("shell", begin, turns=(4, 6, 6, 8, 10))
