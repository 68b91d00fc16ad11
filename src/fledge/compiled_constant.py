"""Marks functions whose answer torch.compile takes as a constant, and does not look into."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Marked = TypeVar("Marked", bound=Callable[..., object])


def constant_when_compiled(function: Marked) -> Marked:
    """What `torch.compiler.assume_constant_result` does, which imports the whole compiler for it:
    0.9 s of every command that reads a language model, those too that only generate.
    """
    # https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_dynamo/decorators.py
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
