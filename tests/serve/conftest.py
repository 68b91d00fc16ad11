"""One server that several tests throw many clients at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serve.models import make_model
from tests.serve.process import Server, start_server


@pytest.fixture(scope="session")
def busy_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Eight slots, and places in the queue for whoever comes."""
    folder = make_model(tmp_path_factory.mktemp("busy") / "tiny", seed=6)
    with start_server(folder, slots=8, queue=64) as started:
        yield started
        assert started.stop() == 0, started.lines
