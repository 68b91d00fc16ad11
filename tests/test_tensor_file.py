"""A file that is written one tensor at a time is the library's own, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from fledge.tensor_file import stream_tensors


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_streamed_file_is_what_the_library_writes(dtype: torch.dtype, tmp_path: Path) -> None:
    shapes = {"a": (3, 5), "b.empty": (0, 4), "c": (), "d": (7,)}
    tensors = {
        name: torch.randn(shape, generator=torch.Generator().manual_seed(len(name)))
        for name, shape in shapes.items()
    }
    file = tmp_path / "model.safetensors"
    # out of memory that is not contiguous, and of another precision
    given = ((name, x.T.contiguous().T if x.ndim == 2 else x) for name, x in tensors.items())
    stream_tensors(file, shapes, dtype, given, {"format": "pt"})
    wanted = {name: x.to(dtype) for name, x in tensors.items()}
    assert file.read_bytes() == save(wanted, {"format": "pt"})
    for name, x in load_file(file).items():
        assert torch.equal(x, wanted[name])


def test_a_tensor_that_is_not_the_one_expected_is_not_written_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"b \(2,\) came in place of a"):
        stream_tensors(
            tmp_path / "x", {"a": (2,)}, torch.float32, [("b", torch.zeros(2))], {}
        )  # fmt: skip
