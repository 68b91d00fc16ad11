"""The optional folder of public data sets that some tests compare with; they are skipped where it
is absent.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DATA = Path(os.environ.get("FLEDGE_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture(scope="session")
def data_file() -> Callable[[str], bytes]:
    """The content of a file of the data folder, decompressed; skips the test where it is absent."""

    def read(name: str) -> bytes:
        path = DATA / name
        if not path.is_file():
            pytest.skip(f"needs {name} of the optional data folder (FLEDGE_DATA)")
        content = path.read_bytes()
        return gzip.decompress(content) if name.endswith(".gz") else content

    return read


@pytest.fixture(scope="session")
def data_rows(data_file: Callable[[str], bytes]) -> Callable[[str], list[dict[str, Any]]]:
    """The rows of a .jsonl.gz file of the data folder."""
    return lambda name: [
        json.loads(line) for line in data_file(name).decode("utf-8").split("\n") if line
    ]
