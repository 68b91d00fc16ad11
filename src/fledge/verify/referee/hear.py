"""A hearing of either kind becomes a row: of a trainer of language models, or of agents."""

from __future__ import annotations

from fledge.generators import generator_state, restore_generators, seed_generators
from fledge.verify.referee.question import Hearing
from fledge.verify.referee.ruling import Ruling, rule
from fledge.verify.referee.world_question import WorldHearing
from fledge.verify.referee.world_ruling import WorldRuling, rule_world

SEED = 0


def hear(hearing: Hearing | WorldHearing) -> Ruling | WorldRuling:
    """Trainers shuffle and sample by the generators of the whole process: they begin at one seed,
    so that a figure is the same whatever was drawn before, and are put back.
    """
    before = generator_state()
    seed_generators(SEED)
    try:
        return rule_world(hearing) if isinstance(hearing, WorldHearing) else rule(hearing)
    finally:
        restore_generators(before)
