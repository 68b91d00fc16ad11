"""Answers to stories about minds, read out of the prompt alone by other means than the tasks use:
regular expressions, permutations, and Bayes' rule written out.
"""

from __future__ import annotations

import itertools
import re

Chances = dict[str, float]


def normalise(weights: Chances) -> Chances:
    total = sum(weights.values())
    return {answer: weight / total for answer, weight in weights.items() if weight}


def number(words: str) -> int:
    return 1 if words.startswith("once") else int(words.split()[0])


def find(pattern: str, text: str) -> tuple[str, ...]:
    got = re.search(pattern, text)
    assert got is not None, (pattern, text)
    return got.groups()


TIMES = r"(once|\d+ times)"


def read_moved(story: str, question: str) -> Chances:
    """The last place that was seen, of the one who looks; the last of all, of the thing."""
    where = re.findall(r"(?:into|to) the (\w+)\.", story)
    if "now" in question:
        return {where[-1]: 1.0}
    seen = [
        find(r"(?:into|to) the (\w+)$", sentence)[0]
        for sentence in re.split(r"\. ?", story)
        if re.search(r"(puts|watches how)", sentence)
    ]
    return {seen[-1]: 1.0}


def read_told(story: str, question: str) -> Chances:
    first, owner = find(r"into the (\w+)", story)[0], story.split()[0]
    moved = find(r"to the (\w+)\.", story)[0]
    hearer, said = find(r'says to (\w+): "The \w+ is in the (\w+)\."', story)
    if "now" in question:
        return {moved: 1.0}
    return {said if hearer == owner else first: 1.0}


def read_contents(story: str, question: str) -> Chances:
    label = find(r'label says "(\w+)"', story)[0]
    inside = find(r"filled it with (\w+)", story)[0]
    looked = "looks inside" in story
    return {inside if looked or "think" not in question else label: 1.0}


def read_second_order(story: str, question: str) -> Chances:
    first, second = find(r"into the (\w+)", story)[0], find(r"moves it to the (\w+)", story)[0]
    knows = "window" in story
    if "think" in question:
        return {second if "waves" in story else first: 1.0}
    return {second if "now" in question or knows else first: 1.0}


def read_habit(story: str, question: str) -> Chances:
    place = rf"(\w+) {TIMES}"
    habit = rf"leaves a thing in the {place}, moves it to the {place} and to the {place}"
    a, stays, b, to_b, c, to_c = find(habit, story)
    if "now" in question:
        return {find(r"This time \w+ (?:leaves it in|moves it to) the (\w+)", story)[0]: 1.0}
    loud = [
        0.0,
        *(number(each) / 10 for each in find(rf"noise {TIMES}.*, to the \w+ {TIMES}", story)),
    ]
    if "hears no noise" in story:
        loud = [1 - p for p in loud]
    prior = [number(each) / 10 for each in (stays, to_b, to_c)]
    weights = [p * n for p, n in zip(prior, loud, strict=True)]
    return normalise(dict(zip((a, b, c), weights, strict=True)))


def read_dishes(story: str, question: str) -> Chances:
    """By all orders in which what a dish needs can be taken, each alike."""
    taken = find(r"Today \w+ takes the (\w+), and then the (\w+)\.", story)
    if "first" in question:
        return {taken[0]: 1.0}
    needs = {
        dish: re.split(", | and ", foods)
        for dish, foods in re.findall(r"The (\w+) takes ([^.]+)\.", story)
    }
    weights = {}
    for dish, foods in needs.items():
        times = number(find(rf"the {dish} {TIMES}", story.partition("Out of")[2])[0])
        orders = list(itertools.permutations(foods))
        weights[dish] = times * sum(order[:2] == taken for order in orders) / len(orders)
    return normalise(weights)


def read_street(story: str, question: str) -> Chances:
    shops = find(r"behind the other: ([^.]+)\.", story)[0].split(", ")
    passed = find(r"walks past the ([^,]+),", story)[0].split(" and the ")
    if "last" in question:
        return {passed[-1]: 1.0}
    times = story.partition("twelve times")[2]
    ahead = shops[len(passed) :]
    return normalise({shop: number(find(rf"the {shop} {TIMES}", times)[0]) for shop in ahead})


def read_offers(story: str, question: str) -> Chances:
    days = re.findall(r"On day \d, ([^.]+?) are offered, and \w+ takes the (\w+)\.", story)
    if "day" in question:
        return {days[int(find(r"day (\d)", question)[0]) - 1][1]: 1.0}
    slip = number(find(rf"but {TIMES} out of ten", story)[0]) / 10
    weights = {}
    for fruit in re.split(", | or ", find(r"best: ([^?]+), nobody", story)[0]):
        weights[fruit] = 1.0
        for offered, taken in days:
            several = offered.split(" and ")
            if fruit not in several:
                weights[fruit] /= len(several)
            else:
                weights[fruit] *= 1 - slip if fruit == taken else slip / (len(several) - 1)
    return normalise(weights)


GOOD = ("sun shone", "every note", "hot and full", "was early", "team won", "blue sea")
PRAISE = ("wonderful", "better", "perfect", "treat")


def read_irony(story: str, question: str) -> Chances:
    praised = any(word in story.partition('says: "')[2] for word in PRAISE)
    words = "good" if praised else "bad"
    if "words of" in question:
        return {words: 1.0}
    if "Out of ten" in story:
        good = number(find(rf"is good {TIMES}", story)[0]) / 10
        joke = number(find(rf"as a joke, {TIMES}", story)[0]) / 10
        says = {"good": 1 - joke, "bad": joke} if praised else {"good": joke, "bad": 1 - joke}
        return normalise({"good": good * says["good"], "bad": (1 - good) * says["bad"]})
    was = "good" if any(word in story for word in GOOD) else "bad"
    if "mean" in question:
        return {"yes" if was == words else "no": 1.0}
    return {words if "believes" in question and "not there" in story else was: 1.0}


READERS = {
    "false_beliefs:moved": read_moved,
    "false_beliefs:told": read_told,
    "false_beliefs:contents": read_contents,
    "false_beliefs:second_order": read_second_order,
    "false_beliefs:habit": read_habit,
    "goals:dishes": read_dishes,
    "goals:street": read_street,
    "goals:offers": read_offers,
    "irony:evident": read_irony,
    "irony:odds": read_irony,
    "irony:overheard": read_irony,
}
