"""One server of two tiny models for all tests that ask it nothing unusual."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.serve.models import make_model
from tests.serve.process import Server, start_server


@dataclass(frozen=True)
class Running:
    """A server, and the folders of its models by their names."""

    server: Server
    folders: dict[str, Path]

    @property
    def url(self) -> str:
        return self.server.url


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("served")
    return {name: make_model(place / name, seed=i) for i, name in enumerate(("one", "two"))}


@pytest.fixture(scope="session")
def running(folders: dict[str, Path]) -> Iterator[Running]:
    with start_server(*folders.values(), slots=8, queue=64, slow=1.0) as server:
        yield Running(server, folders)
