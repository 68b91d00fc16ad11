"""A learner of a large model bounds what oneDNN keeps, and leaves what the user has set."""

from __future__ import annotations

import os

import pytest
from torch import nn

from fledge.learner import Learner, Schedule
from fledge.primitive_cache import PRIMITIVES

ONEDNN, OLDER = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ONEDNN, OLDER):
        monkeypatch.setenv(name, "")  # put back as it was, whoever sets it
        monkeypatch.delenv(name)


def start(tokens: int | None) -> None:
    Learner(nn.Linear(2, 2), Schedule(1e-3, 10), tokens_per_micro_batch=tokens)


def test_of_a_large_model_alone() -> None:
    start(None)
    assert ONEDNN not in os.environ
    start(512)
    assert os.environ[ONEDNN] == str(PRIMITIVES)


@pytest.mark.parametrize("name", [ONEDNN, OLDER])
def test_what_the_user_has_set_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "7")
    start(512)
    assert {each: os.environ.get(each) for each in (ONEDNN, OLDER)} == {
        each: "7" if each == name else None for each in (ONEDNN, OLDER)
    }
