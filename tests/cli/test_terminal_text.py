"""What others wrote, as a person sees it on a real terminal, and as a program gets it through a
pipe.
"""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tests.cli.commands import Cli, Models, environment

from fledge.cli.main import complain
from fledge.recipes.look.runs import RunsConfig, runs
from fledge.runs.show import Show

ODD = "a\tb :smile: [bold]x[/bold] \x1b]0;title\x07\x1b[2J\x08\r\x9b31m\u202eend"
SHOWN = ":smile: [bold]x[/bold] \\x1b]0;title\\x07\\x1b[2J\\x08\\x0d\\x9b31m\\u202eend"
STEERS = [*range(9), *range(11, 13), *range(14, 27), *range(28, 32), 127, *range(128, 160), 0x202E]


def through_a_pipe(arguments: list[str], folder: Path) -> tuple[str, str]:
    """Standard output and standard error, to the byte."""
    command = [sys.executable, "-m", "fledge", *arguments]
    narrow = environment() | {"COLUMNS": "20"}
    done = subprocess.run(command, capture_output=True, cwd=folder, env=narrow, check=False)
    return done.stdout.decode("utf-8"), done.stderr.decode("utf-8")


def on_a_terminal(arguments: list[str], folder: Path, said: bytes = b"") -> str:
    """Everything that the command writes on a pty, standard error with it."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fledge", *arguments]
    asked = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=environment() | {"TERM": "xterm"},
    )
    os.close(theirs)
    assert asked.stdin is not None
    asked.stdin.write(said)
    asked.stdin.close()
    written = b""
    while select.select([ours], [], [], 120)[0]:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says so when the last writer has gone
            break
        written += piece
    os.close(ours)
    asked.wait(60)
    return written.decode("utf-8")


def assert_harmless(written: str) -> None:
    """Nothing there that a terminal would obey, but the line breaks and colours of our own."""
    assert not {chr(code) for code in STEERS} & set(written)
    assert all(piece.lstrip("[0123456789;")[:1] == "m" for piece in written.split("\x1b")[1:])


def test_words_of_a_model_are_shown_and_never_obeyed(models: Models) -> None:
    choices = f"choices={json.dumps([ODD])}"
    written = on_a_terminal(
        ["sample", f"base={models.folder / 'tune'}", "prompt=hi", choices], models.folder
    )
    assert_harmless(written)
    assert SHOWN in written
    assert written.startswith("a       b ")  # a tab goes on to the next eighth column


def test_a_sample_without_a_prompt_says_what_it_goes_on_from(models: Models) -> None:
    for also, said in ((), "an empty message"), (("raw=true",), "the beginning of a text"):
        asked = ["sample", f"base={models.folder / 'tune'}", "max_new_tokens=2", *also]
        written = " ".join(on_a_terminal(asked, models.folder).split())
        assert f"(no prompt was given: this goes on from {said}" in written


@contextmanager
def our_terminal() -> Iterator[tuple[TextIO, Callable[[], str]]]:
    """A pty in this process: a file that writes on it, and what has been written so far."""
    ours, theirs = pty.openpty()
    with (
        os.fdopen(theirs, "w", encoding="utf-8") as file,
        os.fdopen(ours, "rb", buffering=0) as reader,
    ):

        def written() -> str:
            file.flush()
            return reader.read(65536).decode("utf-8")

        yield file, written


def test_into_a_pipe_goes_exactly_what_was_said(models: Models) -> None:
    text = "x" * 25 + f"  \n\n{ODD[:30]}"
    arguments = [
        f"base={models.folder / 'tune'}",
        "prompt=",
        "raw=true",
        f"choices={json.dumps([text])}",
    ]
    out, error = through_a_pipe(["sample", *arguments, "max_new_tokens=62"], models.folder)
    assert out == text + "\n", error


def test_a_file_gets_every_character_and_what_its_encoding_lacks_as_an_escape(
    tmp_path: Path,
) -> None:
    for encoding, lacking in (("utf-8", "é☃"), ("latin-1", "é\\u2603"), ("ascii", "\\xe9\\u2603")):
        with (tmp_path / "out").open("w", encoding=encoding, newline="") as file:
            Show(Console(file=file, width=20)).line(f"{ODD[:-4]} {'y' * 50}  é☃")
        expected = ODD[:-4].replace("\u202e", "").replace("\x9b", "")
        said = (tmp_path / "out").read_bytes().decode(encoding)
        assert said.endswith(f" {'y' * 50}  {lacking}\n")
        assert said.startswith(expected[:30])


def test_a_sentence_quotes_what_is_odd_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert complain(ODD, 2) == 2
    assert capsys.readouterr().err == f"fledge: {ODD}\n"
    with our_terminal() as (file, written):
        monkeypatch.setattr(sys, "stderr", file)
        complain(ODD, 2)
        monkeypatch.undo()
        said = written()
    assert_harmless(said)
    assert SHOWN in said


def test_names_of_runs_are_shown_on_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "odd\x1b[2J\n\x07:smile:"
    folder.mkdir()
    (folder / "config.json").write_text('{"verb": "t\\u001b]0;x\\u0007"}')
    (folder / "lineage.json").write_text("[]")
    with our_terminal() as (file, written):
        rows = runs(RunsConfig(root=tmp_path), Show(Console(file=file, width=200, emoji=False)))[
            "runs"
        ]
        said = written()
    assert_harmless(said)
    assert "odd\\x1b[2J\\n\\x07:smile:" in said
    assert "t\\x1b]0;x\\x07" in said
    assert rows[0]["run"] == folder.name  # a program gets the name


def test_cells_of_a_table_steer_nothing() -> None:
    table = Table("name", box=None)
    table.add_column(Text(ODD))
    table.add_row(ODD, Text(ODD))
    with our_terminal() as (file, written):
        Show(Console(file=file, width=400, markup=False, emoji=False)).print(table)
        said = written()
    assert_harmless(said)
    assert said.count("\\x1b]0;title") == 3
    assert said.count("\\u202eend") == 3


def test_a_conversation_is_streamed_as_it_was_said(models: Models, cli: Cli) -> None:
    arguments = [
        "chat",
        f"base={models.folder / 'tune'}",
        "max_new_tokens=12",
        "temperature=5",
        "seed=3",
    ]
    assert_harmless(on_a_terminal(arguments, models.folder, b":smile:\n"))
    piped = cli(arguments, folder=models.folder, stdin=":smile:\n").stdout
    told = cli([*arguments, "--json"], folder=models.folder, stdin=":smile:\n").result["messages"][
        -1
    ]["content"]
    assert piped == told.replace("\r\n", "\n").replace("\r", "\n") + "\n"  # as a text file is read
