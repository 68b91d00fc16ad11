"""What a person can ask of `fledge chat` itself: lines that begin with a slash."""

from __future__ import annotations

import difflib
import re

# Each with what follows it and what it does, in the order in which /help shows them.
COMMANDS = {
    "/edit": ("[TEXT]", "change your last line, and have it answered again"),
    "/retry": ("", "have your last line answered again, by other draws"),
    "/new": ("", "forget what was said"),
    "/system": ("[TEXT]", "what stands before the conversation; without a text: nothing"),
    "/temperature": ("[X]", "of the draws, 0 is greedy; without a number: what it is"),
    "/save": ("FILE", "the conversation as a row that `fledge tune data=FILE` reads"),
    "/help": ("", "this list"),
}
# Where there is a memory=FILE.
MEMORY_COMMANDS = {
    "/remember": ("TEXT", "store a fact for this and later conversations"),
    "/recall": ("[TEXT]", "what is remembered about it; without a text: the newest"),
    "/forget": ("NUMBER", "remove a memory"),
}
KEYS = "Ctrl-C stops an answer; Ctrl-D, or Ctrl-C twice, ends."
_NAME = re.compile(r"/[a-z]+")


def read_command(line: str) -> tuple[str, str] | None:
    """The command of a line and what follows it, "/edit" and "a text"; None where it is no command.

    A name that is not known comes as it is; a path such as /usr/bin is no name, and a line that
    begins with a space no command.
    """
    name, _, rest = line.rstrip().partition(" ")
    return (name, rest.strip()) if _NAME.fullmatch(name) else None


def write_help(*, remembers: bool) -> str:
    """remembers: whether there is a memory."""
    known = COMMANDS | (MEMORY_COMMANDS if remembers else {})
    rows = [(f"{name} {what}".strip(), does) for name, (what, does) in known.items()]
    width = max(len(left) for left, _ in rows)
    lines = [f"{left:<{width}}  {does}" for left, does in rows]
    return "\n".join([*lines, KEYS])


def refuse_unknown(name: str) -> str:
    """One sentence about a command that there is not."""
    if name in MEMORY_COMMANDS:
        return f"{name} needs a memory: start `fledge chat` with memory=FILE."
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f" Perhaps you meant {near[0]}." if near else ""
    return (
        f"there is no command {name}.{hint} /help lists them; to say it to the model, begin the "
        "line with a space."
    )
