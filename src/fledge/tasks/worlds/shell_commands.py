"""The commands of the small shell: each is given the files, the working folder and its words, and
says what it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import TypeAlias

Tree: TypeAlias = "dict[str, Tree | str]"


class Refused(Exception):
    """A command that cannot be done, and why."""


def list_paths(here: list[str], path: str) -> list[str]:
    """The names on the way from the root to a path that may begin in the working folder."""
    names = [] if path.startswith("/") else list(here)
    for part in path.split("/"):
        if part == "..":
            names = names[:-1]
        elif part not in ("", "."):
            names.append(part)
    return names


def look_up(root: Tree, here: list[str], path: str) -> Tree | str:
    place: Tree | str = root
    for name in list_paths(here, path):
        if not isinstance(place, dict) or name not in place:
            raise Refused(f"{path}: no such file or folder")
        place = place[name]
    return place


def find_parent(root: Tree, here: list[str], path: str) -> tuple[Tree, str]:
    """The folder in which a path's last name stands or may stand, and that name."""
    names = list_paths(here, path)
    if not names:
        raise Refused("/ stays as it is")
    parent = look_up(root, [], "/".join(names[:-1]))
    if isinstance(parent, str):
        raise Refused(f"{path}: not in a folder")
    return parent, names[-1]


def need(words: list[str], number: int, what: str) -> list[str]:
    if len(words) != number:
        raise Refused(f"wants {what}")
    return words


def list_folder(root: Tree, here: list[str], words: list[str]) -> str:
    path = words[0] if words else "."
    place = look_up(root, here, path)
    if isinstance(place, str):
        return path
    return " ".join(f"{n}/" if isinstance(v, dict) else n for n, v in sorted(place.items()))


def read_file(root: Tree, here: list[str], words: list[str]) -> str:
    [path] = need(words, 1, "a file")
    text = look_up(root, here, path)
    if isinstance(text, dict):
        raise Refused(f"{path}: a folder")
    return text.rstrip("\n").replace("\n", " / ")


def transfer(root: Tree, here: list[str], words: list[str], *, keep: bool) -> str:
    source, target = need(words, 2, "a file and where it goes")
    value = look_up(root, here, source)
    parent, name = find_parent(root, here, source)
    if isinstance(value, dict):
        raise Refused(f"{source}: a folder")
    try:
        place = look_up(root, here, target)
    except Refused:
        into, called = find_parent(root, here, target)
    else:
        into, called = (place, name) if isinstance(place, dict) else find_parent(root, here, target)
    if into is parent and called == name:
        raise Refused(f"{source}: the same file")
    if isinstance(into.get(called), dict):
        raise Refused(f"{target}: a folder of that name is there")
    into[called] = deepcopy(value)
    if not keep:
        del parent[name]
    return ""


def move(root: Tree, here: list[str], words: list[str]) -> str:
    return transfer(root, here, words, keep=False)


def copy(root: Tree, here: list[str], words: list[str]) -> str:
    return transfer(root, here, words, keep=True)


def remove(root: Tree, here: list[str], words: list[str]) -> str:
    [path] = need(words, 1, "a file")
    value = look_up(root, here, path)
    parent, name = find_parent(root, here, path)
    if isinstance(value, dict) and value:
        raise Refused(f"{path}: a folder that is not empty")
    del parent[name]
    return ""


def make_folder(root: Tree, here: list[str], words: list[str]) -> str:
    [path] = need(words, 1, "a name")
    parent, name = find_parent(root, here, path)
    if name in parent:
        raise Refused(f"{path}: is there already")
    parent[name] = {}
    return ""


def echo(root: Tree, here: list[str], words: list[str]) -> str:
    """Says the words, or writes them into what stands behind >."""
    if ">" not in words:
        return " ".join(words)
    place = words.index(">")
    [path] = need(words[place + 1 :], 1, "a file behind >")
    parent, name = find_parent(root, here, path)
    if isinstance(parent.get(name), dict):
        raise Refused(f"{path}: a folder")
    parent[name] = " ".join(words[:place]) + "\n"
    return ""


def search(root: Tree, here: list[str], words: list[str]) -> str:
    """The files below a place that hold a word, by their paths; below / without one."""
    if not 1 <= len(words) <= 2:
        raise Refused("wants a word and a place")
    path = words[1] if len(words) == 2 else "/"
    place, names = look_up(root, here, path), list_paths(here, path)
    inside = [(names, place)] if isinstance(place, str) else walk(place, names)
    return " ".join("/" + "/".join(n) for n, text in inside if words[0] in text) or "(nothing)"


def find(root: Tree, here: list[str], words: list[str]) -> str:
    """The paths below / whose last name is this one."""
    [wanted] = need(words, 1, "a name")
    paths = ["/" + "/".join(names) for names, _ in walk(root, []) if names[-1] == wanted]
    return " ".join(paths) or "(nothing)"


def count_lines(root: Tree, here: list[str], words: list[str]) -> str:
    [path] = need([word for word in words if word != "-l"], 1, "a file")
    text = look_up(root, here, path)
    if isinstance(text, dict):
        raise Refused(f"{path}: a folder")
    return f"{text.count(chr(10))} {path}"


def walk(tree: Tree, names: list[str]) -> Iterator[tuple[list[str], str]]:
    """Every file below a folder, with the names on its way."""
    for name, value in sorted(tree.items()):
        if isinstance(value, dict):
            yield from walk(value, [*names, name])
        else:
            yield [*names, name], value


Command = Callable[[Tree, list[str], list[str]], str]
COMMANDS: dict[str, Command] = {
    "ls": list_folder,
    "cat": read_file,
    "mv": move,
    "cp": copy,
    "rm": remove,
    "mkdir": make_folder,
    "echo": echo,
    "find": find,
    "grep": search,
    "wc": count_lines,
}
