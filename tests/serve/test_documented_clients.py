"""The clients of docs/serve.md as they stand there, in Python, curl and JavaScript; and its fields,
paths and metrics.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fledge.serve.verb import ServeConfig
from tests.serve.models import make_model
from tests.serve.process import Server, start_server

DOCUMENT = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = make_model(tmp_path_factory.mktemp("served") / "align", seed=8, context=1024)
    with start_server(folder, slots=4) as started:
        yield started


def read_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def run(command: list[str], code: str, server: Server) -> str:
    done = subprocess.run(
        [*command, code.replace(ADDRESS, server.url)],
        capture_output=True,
        check=False,
        timeout=300,  # on a machine that does much else, an import takes its time
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode(errors="replace")


def test_python(server: Server) -> None:
    pytest.importorskip("openai")
    first, *_ = read_blocks("python")
    lines = run([sys.executable, "-c"], first, server).splitlines()
    assert len(lines) >= 6  # two answers and four tokens


def test_python_with_structure(server: Server) -> None:
    pytest.importorskip("openai")
    _, code = read_blocks("python")
    verdict, called, said = run([sys.executable, "-c"], code, server).splitlines()
    assert re.fullmatch(r"colour='(red|green)' sure=(True|False)", verdict)
    arguments = re.search(r"arguments='(.+?)', name='weather'", called)
    assert arguments is not None, called
    assert json.loads(arguments[1])["day"] in ("today", "tomorrow")
    assert said in ("yes", "no")


def test_curl(server: Server) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not here")
    [code] = read_blocks("bash")
    said = run(["bash", "-e", "-c"], code, server)
    first, *events = said.split("data: ")
    assert json.loads(first)["choices"][0]["message"]["role"] == "assistant"
    assert events[-1].strip() == "[DONE]"
    assert json.loads(events[0])["object"] == "text_completion"


def test_javascript(server: Server) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not here")
    [code] = read_blocks("js")
    assert run(["node", "--input-type=module", "--eval"], code, server).endswith("\n")


def test_the_fields_in_the_table_are_the_verbs() -> None:
    table = DOCUMENT.split("| field |")[1].split("\n\n")[0]
    named = {
        name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert named | {"base", "family"} == set(ServeConfig.model_fields)
    defaults = {
        "slots": 16,
        "queue": 256,
        "timeout": 600,
        "port": 8000,
        "slow": 20,
        "connections": 512,
    }
    for name, default in defaults.items():
        assert ServeConfig.model_fields[name].default == default


def test_the_paths_and_metrics_that_are_named_are_there(server: Server) -> None:
    table = DOCUMENT.split("## What is answered")[1].split("\n## ")[0].replace("/NAME", "/align")
    paths = re.findall(r"`(?:GET |POST )?(/[\w/]+)`", table)
    assert len(paths) > 8
    for path in paths:
        assert httpx.get(server.url + path).status_code in (200, 405), path
    told = httpx.get(f"{server.url}/metrics").text
    named = re.findall(r"`(fledge_\w+)`", DOCUMENT)
    assert len(named) > 8
    for name in named:
        assert f"# TYPE {name} " in told, name
    kinds = set(re.findall(r"# TYPE (\w+) ", told))
    assert kinds == set(named)
