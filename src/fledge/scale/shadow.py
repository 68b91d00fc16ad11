"""The run as a rank that writes none sees it: a folder of its own that is gone when it ends, with
what the first rank has written where that can be seen.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fledge import ranks
from fledge.runs.folder import Run

_made: set[Path] = set()


@contextmanager
def make_shadow_folder() -> Iterator[Path]:
    """A folder that is not there yet, and is not any more after the block."""
    above = Path(tempfile.mkdtemp(prefix="fledge-rank-"))
    _made.add(above)
    try:
        yield above / "run"
    finally:
        remove_shadow_folders()


def remove_shadow_folders() -> None:
    """By a process that ends without leaving its blocks, too."""
    while _made:
        shutil.rmtree(_made.pop(), ignore_errors=True)


def see_shards(run: Run) -> None:
    """Tells every rank where the run of the first is, whose tokenised text they read."""
    real = Path(ranks.from_first(lambda: str(run.folder.absolute())))
    if not ranks.is_first():
        link_shards(run.folder, real)


def link_shards(folder: Path, real: Path) -> None:
    """Where the disk of the first rank cannot be seen each makes its own."""
    shards = folder / "shards"
    if real.is_dir() and not shards.is_symlink():
        shards.symlink_to(real / "shards", target_is_directory=True)
