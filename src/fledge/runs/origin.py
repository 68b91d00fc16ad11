"""Where a run comes from, as the report says it: a row for each parent and each file of data, or
one for a whole corpus.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

MOST_FILES = 20
"""With more files of data than this, one row stands for all: a corpus of 20,000 would be a page of
three megabytes.
"""


def describe_origin(lineage: dict[str, Any]) -> list[tuple[str, str]]:
    """(what, value), of what lineage.json holds."""
    plain = ("command", "started", "seed", "git_commit", "fledge", "torch", "python", "platform")
    said = [
        (name.replace("_", " "), str(lineage[name]))
        for name in plain
        if lineage.get(name) is not None
    ]
    for parent in lineage.get("parents", []):
        said.append(
            (
                "parent",
                f"{parent['path']}, weights sha256 {parent.get('model_sha256') or 'unknown'}",
            )
        )
    files = [data for data in lineage.get("data", []) if "sha256" in data]
    if len(files) > MOST_FILES:
        said.append(("data", _corpus(files)))
    for data in lineage.get("data", []):
        if "sha256" not in data:
            said.append(("data", f"{data['path']}, prose of Python {data.get('python')}"))
        elif len(files) <= MOST_FILES:
            said.append(("data", f"{data['path']}, sha256 {data['sha256']}"))
    return said


def _corpus(files: Sequence[dict[str, Any]]) -> str:
    """Where the files lie, how many and how large they are, and a hash of their sorted names, sizes
    and hashes.
    """
    rows = sorted(f"{file['path']}\t{file.get('bytes', 0)}\t{file['sha256']}\n" for file in files)
    digest = hashlib.sha256("".join(rows).encode("utf-8", "surrogateescape")).hexdigest()
    paths = [file["path"] for file in files]
    # else there is no common path to speak of
    alike = len({os.path.isabs(path) for path in paths}) == 1
    place = (os.path.commonpath(paths) if alike else "") or "several folders"
    size = sum(file.get("bytes", 0) for file in files)
    return (
        f"{place}, {len(files):,} files, {size:,} bytes, sha256 {digest} of the list in "
        "lineage.json"
    )
