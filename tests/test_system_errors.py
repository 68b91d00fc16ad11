"""An error of the operating system is a sentence about what was written, or about what was read,
and not about the other.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from fledge.cli.main import find_written
from fledge.system_errors import explain, out_of_memory


def error(number: int, name: str | None) -> OSError:
    return OSError(number, os.strerror(number), name)


@pytest.mark.parametrize("name", ["out/run/.lock", "out/run", "out", "out/.run.71.partial"])
def test_what_is_written_is_about_out_and_says_that_the_rest_is_intact(name: str) -> None:
    said = explain(error(errno.EACCES, name), Path("out/run"))
    assert said is not None
    assert (
        f"({name}): change the permissions, or choose another `out`. What was saved before is "
        "intact."
    ) in said


@pytest.mark.parametrize(
    "name",
    ["rows.jsonl", "/elsewhere/run/model/model.safetensors", "out/other/config.json", "out-2"],
)
@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EBUSY]
)
def test_what_is_read_is_not_about_out(number: int, name: str) -> None:
    said = explain(error(number, name), Path("out/run"))
    assert said is not None
    assert f"({name})" in said
    assert "`out`" not in said
    assert "What was saved" not in said


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.EFBIG, errno.ELOOP, errno.ENOSPC]
)
def test_limits_have_a_sentence_with_or_without_a_name(number: int) -> None:
    for name in (None, "runs/tune/metrics.jsonl"):
        assert explain(error(number, name), Path("runs")) is not None


def test_what_no_user_can_mend_has_none() -> None:
    assert explain(error(errno.EBADF, None), Path("runs")) is None


@pytest.mark.parametrize(
    ("words", "writes"),
    [
        ("sample base=runs/a prompt=b", None),
        ("evaluate runs/a data=c", None),
        ("runs", None),
        ("nonsense", None),
        ("", None),
        ("tune base=runs/a", "runs"),
        ("tune base=runs/a out=elsewhere", "elsewhere"),
        ("tune --out elsewhere", "elsewhere"),
        ("tokenizer train data=a out=t", "t"),
        ("tokenizer show t", None),
        ("resume runs/a", "runs/a"),
        ("report run=runs/a", "runs/a"),
    ],
)
def test_a_command_writes_where_it_says_or_nowhere(words: str, writes: str | None) -> None:
    assert find_written(words.split()) == (None if writes is None else Path(writes))


def test_weights_that_may_not_be_read_are_no_matter_of_out() -> None:
    said = explain(
        error(errno.EACCES, "runs/a/model/model.safetensors"),
        find_written(["sample", "base=runs/a"]),
    )
    assert said is not None
    assert said.endswith("change its permissions, or give another path.")


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
            True,
        ),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("size mismatch for weight"), False),
        (KeyError("out of memory"), False),
    ],
)
def test_no_room_is_told_from_what_else_a_runtime_error_means(
    error: Exception, is_one: bool
) -> None:
    assert out_of_memory(error) == is_one


def test_the_processor_says_it_in_words_that_are_known() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60)
    assert out_of_memory(raised.value)
