"""TRL and transformers, where they are installed: every row follows an equation, whatever padding
there is and whatever stands under the masks. GRPO's eighteen rows take minutes: `make referee`.
"""

from __future__ import annotations

import pytest

from fledge.verify.referee.peers import select_hearings
from fledge.verify.referee.ruling import rule

pytest.importorskip("trl")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("peer", ["trl:rloo", "trl:sft", "trl:dpo", "transformers:trainer"])
def test_a_gradient_is_the_same_at_every_padding_and_garbage(peer: str) -> None:
    for hearing in select_hearings(peer, {}):
        ruling = rule(hearing)
        assert ruling.equation, ruling
        assert max(ruling.padding, ruling.garbage, ruling.leak) < 1e-5, ruling
