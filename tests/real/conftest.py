"""One real model, read once: without `make real` its tests are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fledge.hub.folder import Loaded, load_model
from tests.cli.commands import Cli
from tests.real.llama_server import LlamaServer
from tests.real.smollm2 import SMOLLM2


@pytest.fixture(scope="session")
def file() -> Path:
    there = SMOLLM2.find()
    if there is None:
        pytest.skip("SmolLM2 is not here: `make real` fetches it")
    return there


@pytest.fixture(scope="session")
def model(file: Path) -> Loaded:
    return load_model(file)


@pytest.fixture(scope="session")
def llama(file: Path) -> LlamaServer:
    return LlamaServer(file)


@pytest.fixture(scope="session")
def cli() -> Iterator[Cli]:
    with Cli() as started:
        yield started
