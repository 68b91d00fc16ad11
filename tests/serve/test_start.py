"""How a server starts: what it says, what it calls its models, and when it does not start."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from fledge.cli.main import main
from tests.serve.conftest import Running
from tests.serve.process import start_server


def test_it_says_where_it_listens_and_what_to_type_next(running: Running) -> None:
    said = "\n".join(running.server.lines)
    loading = [f"serve: loading {folder}" for folder in running.folders.values()]
    assert running.server.lines[:2] == loading
    assert "one: 8 slots of 1,024 tokens, fp32" in said
    assert "two: 8 slots" in said
    [line] = [line for line in running.server.lines if " try " in line]
    curl, chat = line.partition(" try ")[2].split(", or ")
    assert httpx.get(shlex.split(curl)[1]).status_code == 200
    command = [sys.executable, "-m", *shlex.split(chat), "max_new_tokens=4"]
    done = subprocess.run(command, input="hello\n", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_models_of_one_name_are_called_as_they_were_given(folders: dict[str, Path]) -> None:
    other = folders["one"].parent / "elsewhere"
    other.mkdir(exist_ok=True)
    link = other / "one"
    link.symlink_to(folders["one"])
    with start_server(folders["one"], link, slots=1) as server:
        listed = httpx.get(f"{server.url}/v1/models").json()["data"]
        assert [model["id"] for model in listed] == [str(folders["one"]), str(link)]
        name = str(link)
        assert httpx.get(f"{server.url}/v1/models/{name}").json()["id"] == name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["host=0.0.0.0"], "key_file=FILE"),
        (["key_file=none-there"], "cannot be read"),
        (["port=70000"], "port=70000"),
        (["host=203.0.113.7", "key_file={key}"], "cannot be had"),
        (["key_file={short}"], "8 characters"),
        (["slots=0"], "slots=0"),
        (["nothing=1"], "no field"),
    ],
)
def test_what_cannot_be_started_says_so_at_once(
    folders: dict[str, Path],
    tmp_path: Path,
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "key").write_text("0123456789abcdef\n")
    (tmp_path / "short").write_text("abc")
    given = [word.format(key=tmp_path / "key", short=tmp_path / "short") for word in words]
    monkeypatch.delenv("FLEDGE_KEY", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["serve", str(folders["one"]), *given])
    assert ended.value.code == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert len(complaint.splitlines()) == 1


def test_a_port_that_is_taken_is_said_before_a_model_is_loaded(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SystemExit) as ended,
    ):
        main(["serve", str(folders["one"]), f"port={taken.getsockname()[1]}"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "another program may hold it" in said.err
    assert not said.out
