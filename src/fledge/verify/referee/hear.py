"""A hearing of either kind becomes a row: of a trainer of language models, or of agents."""

from __future__ import annotations

from fledge.verify.referee.question import Hearing
from fledge.verify.referee.ruling import Ruling, rule
from fledge.verify.referee.world_question import WorldHearing
from fledge.verify.referee.world_ruling import WorldRuling, rule_world


def hear(hearing: Hearing | WorldHearing) -> Ruling | WorldRuling:
    return rule_world(hearing) if isinstance(hearing, WorldHearing) else rule(hearing)
