"""Asks the disk to hold a file or a folder as it is now, before another file vouches for it."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Of a folder it is the list of names, which a rename changes too. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
