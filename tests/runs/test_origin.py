"""A few files of data have a row each, a corpus of many has one row that any change of a file
changes.
"""

from __future__ import annotations

import hashlib
from typing import Any

from fledge.runs.origin import MOST_FILES, describe_origin


def lineage(count: int) -> dict[str, Any]:
    files = [
        {"path": f"books/{i}.txt", "bytes": 10 + i, "sha256": f"{i:064}"} for i in range(count)
    ]
    return {"seed": 3, "data": [*files, {"path": "python", "python": "3.11.7"}]}


def test_a_few_files_have_a_row_each() -> None:
    said = describe_origin(lineage(MOST_FILES))
    assert said[0] == ("seed", "3")
    assert said[1] == ("data", f"books/0.txt, sha256 {0:064}")
    assert said[-1] == ("data", "python, prose of Python 3.11.7")
    assert len(said) == 2 + MOST_FILES


def test_many_files_have_one_row_whatever_their_order() -> None:
    many = lineage(20_000)
    (_, (what, value), prose) = describe_origin(many)
    listed = sorted(f"books/{i}.txt\t{10 + i}\t{i:064}\n" for i in range(20_000))
    digest = hashlib.sha256("".join(listed).encode()).hexdigest()
    size = sum(range(10, 20_010))
    assert what == "data"
    assert (
        value == f"books, 20,000 files, {size:,} bytes, sha256 {digest} of the list in lineage.json"
    )
    assert prose == ("data", "python, prose of Python 3.11.7")
    many["data"].reverse()
    assert ("data", value) in describe_origin(many)
    many["data"][7]["bytes"] += 1
    assert ("data", value) not in describe_origin(many)
    many["data"][9]["path"] = "/elsewhere/a.txt"
    assert any(
        value.startswith("several folders, 20,000 files") for _, value in describe_origin(many)
    )
