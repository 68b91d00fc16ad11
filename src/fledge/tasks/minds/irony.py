"""Stories of somebody who says the opposite of what they mean: P(state | remark) ∝
P(remark | state) P(state), where a speaker is sincere or joking (after Kao & Goodman 2015, with the
joke's chance told).
"""

from __future__ import annotations

from fractions import Fraction

from fledge.tasks.minds.scene import PEOPLE, Kind, Question, Scene, ask, count, normalise, remember
from fledge.tasks.worlds.world import Draws

MATTERS = {
    "picnic": ("the sun shone and all were merry", "it rained and the wasps ate the cake"),
    "concert": ("the singer sang every note right", "the singer forgot the words and fell"),
    "soup": ("the soup was hot and full of taste", "the soup was cold and burnt at once"),
    "trip": ("the train was early and half empty", "the train was four hours late"),
    "match": ("their own team won by five goals", "their own team lost by five goals"),
    "holiday": ("they swam all day in a blue sea", "they were ill in bed all week"),
}
PRAISE = ("How wonderful!", "It could not be better!", "Simply perfect!", "What a treat!")
BLAME = ("How awful!", "It could not be worse!", "Simply terrible!", "What a disaster!")
STATES = ("good", "bad")


def infer_state(good: Fraction, says_good: bool, joke: Fraction) -> dict[str, Fraction]:
    """good: the chance before the remark. joke: that the opposite of what is meant is said."""
    sincere = 1 - joke
    return normalise(
        {
            "good": good * (sincere if says_good else joke),
            "bad": (1 - good) * (joke if says_good else sincere),
        }
    )


def draw_remark(draw: Draws, says_good: bool) -> str:
    return draw.one(PRAISE if says_good else BLAME)


def ask_words(draw: Draws, person: str, matter: str, says_good: bool) -> Question:
    """Whether praise is told from blame."""
    text = f"Do the words of {person} call the {matter} good or bad?"
    return remember(draw, text, STATES[0 if says_good else 1], STATES)


def make_evident(draw: Draws) -> Scene:
    """Everybody knows how it was."""
    a, b = draw.several(PEOPLE, 2)
    matter = draw.one(tuple(MATTERS))
    was_good, says_good = bool(draw.integer(2)), bool(draw.integer(2))
    fact, remark = MATTERS[matter][0 if was_good else 1], draw_remark(draw, says_good)
    text = f'{a} and {b} speak of the {matter}: {fact}. {a} says: "{remark}"'
    posterior = infer_state(Fraction(was_good), says_good, Fraction(1, 2))
    # meant as it is said where what is thought is what was said
    said = STATES[0 if says_good else 1]
    means = {"yes": posterior[said], "no": 1 - posterior[said]}
    meant = ask(draw, f"Does {a} mean what the words say?", means, ("yes", "no"))
    return Scene(text, (meant, ask_words(draw, a, matter, says_good)))


def make_odds(draw: Draws) -> Scene:
    """Nobody knows how it was, and the chances are told. Drawn again until one is likelier."""
    while True:
        a, b = draw.several(PEOPLE, 2)
        matter = draw.one(tuple(MATTERS))
        good, joke = 1 + draw.integer(9), 1 + draw.integer(9)
        says_good = bool(draw.integer(2))
        posterior = infer_state(Fraction(good, 10), says_good, Fraction(joke, 10))
        state = ask(draw, f"How was the {matter} most likely?", posterior, STATES)
        if state.is_decided:
            break
    text = (
        f"{b} asks {a} about the {matter}. Out of ten times it is good {count(good)} and bad "
        f"{count(10 - good)}. {a} says the opposite of what is true, as a joke, {count(joke)} out "
        f'of ten. {a} says: "{draw_remark(draw, says_good)}"'
    )
    return Scene(text, (state, ask_words(draw, a, matter, says_good)))


def make_overheard(draw: Draws) -> Scene:
    """One who knows how it was hears the remark, or one who does not and takes it as it is said."""
    a, b = draw.several(PEOPLE, 2)
    matter = draw.one(tuple(MATTERS))
    was_good, says_good, knows = (bool(draw.integer(2)) for _ in range(3))
    fact, remark = MATTERS[matter][0 if was_good else 1], draw_remark(draw, says_good)
    if knows:
        chance, joke = Fraction(was_good), Fraction(1, 2)
        listens = f"{b} was there too, and hears it."
    else:
        chance, joke = Fraction(1, 2), Fraction(0)
        listens = f"{b}, who was not there and does not know that {a} jokes, hears it."
    text = f'{a} was at the {matter}, and {fact}. Now {a} says: "{remark}" {listens}'
    if matter == "soup":
        text = text.replace("was at the soup, and", "ate the soup, and")
    believes = infer_state(chance, says_good, joke)
    really = STATES[0 if was_good else 1]
    return Scene(
        text,
        (
            ask(draw, f"How was the {matter}, as {b} believes?", believes, STATES),
            remember(draw, f"How was the {matter} really?", really, STATES),
        ),
    )


IRONY = {
    "evident": Kind(make_evident, 2),
    "odds": Kind(make_odds, 2),
    "overheard": Kind(make_overheard, 2),
}
