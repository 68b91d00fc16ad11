"""What somebody believes, and what somebody believes that another believes, by going through every
story that they think possible.

An event is what it is, and what it is for each person: whoever saw it takes it for itself,
whoever did not for one of several others, each with its chance. A belief is the sum over all
products of these; one about a belief the same sum over the other's beliefs in each story (the
possible worlds of Fagin, Halpern, Moses & Vardi 1995, ch. 2, with chances).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from fledge.tasks.minds.scene import normalise


@dataclass(frozen=True)
class Event:
    """place: where the thing is from now on; None where it stays. views: for each who did not
    see it as it was, what they take it for, with weights.
    """

    place: str | None
    views: Mapping[str, tuple[tuple[Event, Fraction], ...]] = field(default_factory=dict)


NOTHING = Event(None)


def move(place: str, *unseen_by: str) -> Event:
    """Who does not see it expects nothing to have happened."""
    return Event(place, {person: ((NOTHING, Fraction(1)),) for person in unseen_by})


def believe(events: Sequence[Event], *who: str) -> dict[str, Fraction]:
    """The chance of each place in the mind of `who`; of several, what the first believes that the
    second believes; of nobody, where it is. The first event must have a place.
    """
    if not who:
        return {[event.place for event in events if event.place is not None][-1]: Fraction(1)}
    first, *others = who
    total: dict[str, Fraction] = {}
    views = [event.views.get(first, ((event, Fraction(1)),)) for event in events]
    for story in itertools.product(*views):
        weight = math.prod((share for _, share in story), start=Fraction(1))
        for place, chance in believe([event for event, _ in story], *others).items():
            total[place] = total.get(place, Fraction(0)) + weight * chance
    return normalise(total)
