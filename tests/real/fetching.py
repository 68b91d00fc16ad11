"""A real model out of packages of the package index, fetched once into $FLEDGE_REAL, by default the
user's cache, and never into the project.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


def cache_folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("FLEDGE_REAL") or cache / "fledge" / "real")


@dataclass(frozen=True)
class RealModel:
    """title: as people call it. packages: pinned, as pip takes them. parts: the files in them that
    make up the model's one file, in order. name: of that file, in the cache.
    """

    title: str
    packages: Sequence[str]
    parts: Sequence[Path]
    name: Path
    sha256: str

    @property
    def file(self) -> Path:
        return cache_folder() / self.name

    def find(self) -> Path | None:
        """The .gguf file, or None where it was not fetched."""
        return self.file if self.file.is_file() else None

    def fetch(self) -> Path:
        """The file, fetched if it is not there. Raises CalledProcessError where pip cannot,
        ValueError for another file than the one that the tests know.
        """
        if (there := self.find()) is not None:
            return there
        # Beside first: what stands in its place is whole.
        beside = cache_folder() / f".{os.getpid()}.partial"
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        try:
            subprocess.run(
                [*pip, "--no-deps", "--no-cache-dir", "--target", str(beside), *self.packages],
                check=True,
            )
            whole = beside / "whole"
            with whole.open("wb") as out:
                for part in self.parts:
                    with (beside / part).open("rb") as file:
                        shutil.copyfileobj(file, out)
            with whole.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != self.sha256:
                raise ValueError(
                    f"{', '.join(self.packages)} hold a file with sha256 {digest}, not "
                    f"{self.sha256}"
                )
            self.file.parent.mkdir(exist_ok=True)
            whole.rename(self.file)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return self.file

    def report(self) -> int:
        """Fetches it and says where it lies; an exit status."""
        try:
            print(f"{self.title} lies in {self.fetch()}")
        except subprocess.CalledProcessError:
            print(
                f"pip could not install {', '.join(self.packages)}: connect to the package index, "
                f"or put the file at {self.file}.",
                file=sys.stderr,
            )
            return 1
        except (OSError, ValueError) as error:
            print(f"{self.title} could not be fetched: {error}", file=sys.stderr)
            return 1
        return 0
