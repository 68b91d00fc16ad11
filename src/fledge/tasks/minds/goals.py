"""Stories of somebody who acts, and what they want: P(goal | actions) ∝ P(actions | goal) P(goal),
with chances that the story tells (Baker, Saxe & Tenenbaum 2009).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from fledge.tasks.minds.scene import PEOPLE, Kind, Scene, ask, count, normalise, remember
from fledge.tasks.worlds.world import Draws

DISHES = ("soup", "cake", "salad", "stew", "bread", "pie")
FOODS = ("eggs", "flour", "salt", "onions", "butter", "rice", "beans", "milk", "nuts", "oil")
SHOPS = ("bakery", "bank", "cinema", "library", "pharmacy", "museum", "school", "station")
FRUITS = ("apple", "pear", "plum", "peach", "banana", "orange", "lemon", "fig")


def draw_prior(draw: Draws, goals: Sequence[str], out_of: int = 10) -> dict[str, int]:
    """Times out of ten, each at least one."""
    times = [1] * len(goals)
    for _ in range(out_of - len(goals)):
        times[draw.integer(len(goals))] += 1
    return dict(zip(goals, times, strict=True))


def tell_times(prior: Mapping[str, int]) -> str:
    said = [f"the {goal} {count(times)}" for goal, times in prior.items()]
    return f"{', '.join(said[:-1])} and {said[-1]}"


def infer_dish(
    prior: Mapping[str, int], needs: Mapping[str, Sequence[str]], taken: Sequence[str]
) -> dict[str, Fraction]:
    """Who cooks takes what is needed and not taken yet, each alike."""

    def likelihood(dish: str) -> Fraction:
        if not set(taken) <= set(needs[dish]):
            return Fraction(0)
        left = range(len(needs[dish]), len(needs[dish]) - len(taken), -1)
        return Fraction(1, math.prod(left))

    return normalise({dish: times * likelihood(dish) for dish, times in prior.items()})


def make_dishes(draw: Draws) -> Scene:
    """Two things are taken, which one dish needs, or several."""
    while True:
        person, dishes = draw.one(PEOPLE), draw.several(DISHES, 3)
        shelf = draw.several(FOODS, 6)
        prior = draw_prior(draw, dishes)
        needs = {dish: draw.several(shelf, 2 + draw.integer(3)) for dish in dishes}
        taken = draw.several(needs[draw.one(dishes)], 2)
        posterior = infer_dish(prior, needs, taken)
        wanted = ask(draw, f"Which dish will {person} most likely make?", posterior, dishes)
        if wanted.is_decided:
            break
    listed = " ".join(
        f"The {dish} takes {', '.join(foods[:-1])} and {foods[-1]}."
        for dish, foods in needs.items()
    )
    text = (
        f"{person} can make three dishes. {listed} Out of ten days {person} makes "
        f"{tell_times(prior)}. {person} takes only what a dish needs, in any order. Today {person} "
        f"takes the {taken[0]}, and then the {taken[1]}."
    )
    others = draw.several([food for food in FOODS if food not in taken], 1)
    first = remember(draw, f"What did {person} take first?", taken[0], [*taken, *others])
    return Scene(text, (wanted, first))


def infer_shop(prior: Mapping[str, int], passed: Sequence[str]) -> dict[str, Fraction]:
    """Nobody walks past where they want to go."""
    return normalise(
        {shop: Fraction(0 if shop in passed else times) for shop, times in prior.items()}
    )


def make_street(draw: Draws) -> Scene:
    """A walk along a street past one or two of four places."""
    while True:
        person, shops = draw.one(PEOPLE), draw.several(SHOPS, 4)
        prior, passed = draw_prior(draw, shops, 12), shops[: 1 + draw.integer(2)]
        asked = f"Where is {person} most likely going?"
        goal = ask(draw, asked, infer_shop(prior, passed), shops)
        if goal.is_decided:
            break
    text = (
        f"In a street stand, one behind the other: {', '.join(shops)}. {person} comes from the "
        f"side of the {shops[0]}, takes the shortest way and always knows where to go. Out of "
        f"twelve times it is {tell_times(prior)}. Now {person} walks past the "
        f"{' and the '.join(passed)}, and does not stop."
    )
    last = remember(draw, f"What did {person} walk past last?", passed[-1], shops)
    return Scene(text, (goal, last))


def infer_favourite(
    fruits: Sequence[str], days: Sequence[tuple[Sequence[str], str]], slips: int
) -> dict[str, Fraction]:
    """days: what was offered, and what was taken. Where the favourite is offered it is taken, but
    for `slips` times out of ten, when another is, each alike; else any, each alike.
    """

    def likelihood(favourite: str, offered: Sequence[str], taken: str) -> Fraction:
        if favourite not in offered:
            return Fraction(1, len(offered))
        slip = Fraction(slips, 10)
        return 1 - slip if taken == favourite else slip / (len(offered) - 1)

    return normalise(
        {
            fruit: math.prod(
                (likelihood(fruit, offered, taken) for offered, taken in days), start=Fraction(1)
            )
            for fruit in fruits
        }
    )


def make_offers(draw: Draws) -> Scene:
    """Three days of choosing between two or three, with a slip now and then."""
    while True:
        person, fruits, slips = draw.one(PEOPLE), draw.several(FRUITS, 3), 1 + draw.integer(3)
        days = []
        for _ in range(3):
            offered = draw.several(fruits, 2 + draw.integer(2))
            days.append((offered, draw.one(offered)))
        likes = ask(
            draw,
            f"Which fruit does {person} most likely like best?",
            infer_favourite(fruits, days, slips),
            fruits,
        )
        if likes.is_decided:
            break
    told = " ".join(
        f"On day {number}, {' and '.join(offered)} are offered, and {person} takes the {taken}."
        for number, (offered, taken) in enumerate(days, 1)
    )
    text = (
        f"{person} likes one fruit best: {fruits[0]}, {fruits[1]} or {fruits[2]}, nobody knows "
        f"which. If it is offered {person} takes it, but {count(slips)} out of ten takes "
        f"another by mistake. If it is not, {person} takes any. {told}"
    )
    day = draw.integer(3)
    memory = remember(draw, f"What did {person} take on day {day + 1}?", days[day][1], fruits)
    return Scene(text, (likes, memory))


GOALS = {
    "dishes": Kind(make_dishes, 2),
    "street": Kind(make_street, 2),
    "offers": Kind(make_offers, 2),
}
