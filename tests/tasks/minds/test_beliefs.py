"""Beliefs about beliefs, against what is worked out by hand in fractions."""

from __future__ import annotations

from fractions import Fraction

from fledge.tasks.minds.beliefs import NOTHING, Event, believe, move


def test_sally_and_anne() -> None:
    events = [move("basket"), move("box", "Sally")]
    assert believe(events) == {"box": 1}
    assert believe(events, "Anne") == {"box": 1}
    assert believe(events, "Sally") == {"basket": 1}
    assert believe(events, "Anne", "Sally") == {"basket": 1}
    assert believe(events, "Sally", "Anne") == {"basket": 1}


def test_who_peeks_knows_and_is_not_known_to_know() -> None:
    unseen = move("box", "Sally")
    peeked = Event("box", {"Anne": ((unseen, Fraction(1)),)})
    events = [move("basket"), peeked]
    assert believe(events, "Sally") == {"box": 1}
    assert believe(events, "Anne", "Sally") == {"basket": 1}
    assert believe(events, "Sally", "Anne", "Sally") == {"basket": 1}


def test_chances_multiply_along_a_story_and_are_summed_over_stories() -> None:
    """The thing is moved to the box by a chance of 1/3, and from wherever it is to the bag by 1/4,
    unseen by Sally: bag 1/4, box 1/3 · 3/4, basket 2/3 · 3/4.
    """
    first = ((Event("box"), Fraction(1)), (NOTHING, Fraction(2)))
    then = ((Event("bag"), Fraction(1)), (NOTHING, Fraction(3)))
    events = [move("basket"), Event("box", {"Sally": first}), Event(None, {"Sally": then})]
    wanted = {"bag": Fraction(1, 4), "box": Fraction(1, 4), "basket": Fraction(1, 2)}
    assert believe(events, "Sally") == wanted
    assert believe(events) == {"box": 1}


def test_a_belief_about_a_belief_is_its_mean_over_stories() -> None:
    """Anne takes it by 2/3 that Sally has seen the move, and by 1/3 that she has not."""
    views = ((move("box"), Fraction(2)), (move("box", "Sally"), Fraction(1)))
    events = [move("basket"), Event("box", {"Anne": views})]
    assert believe(events, "Anne") == {"box": 1}
    assert believe(events, "Anne", "Sally") == {"box": Fraction(2, 3), "basket": Fraction(1, 3)}
