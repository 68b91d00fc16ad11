"""Trainers of other packages, where they are installed: every row follows an equation and a second
way agrees, whatever padding there is and whatever stands under the masks.
"""

from __future__ import annotations

import importlib

import pytest

from fledge.verify.referee.hear import hear
from fledge.verify.referee.peers import list_peers, select_hearings
from fledge.verify.referee.ruling import Ruling

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("peer", [name for name in list_peers() if not name.startswith("fledge:")])
def test_every_row_follows_an_equation_that_a_second_way_agrees_with(peer: str) -> None:
    try:
        importlib.import_module(peer.partition(":")[0])
    except ImportError:
        pytest.skip(f"{peer} is not installed")
    for hearing in select_hearings(peer, {}):
        ruling = hear(hearing)
        assert ruling.equation, ruling
        assert ruling.second.by, ruling
        assert ruling.second.agrees, ruling
        if peer.startswith(("stable_baselines3:", "tianshou:", "d3rlpy:")) and not hearing.setting:
            assert ruling.resumed, ruling
        if isinstance(ruling, Ruling):
            changed = max(ruling.padding, ruling.left or 0.0, ruling.garbage)
            assert changed < 1e-5 or ruling.faults, ruling
            assert (ruling.ranks or 0.0) < 1e-5 or ruling.faults, ruling
            assert ruling.leak < 1e-5 or ruling.faults, ruling
