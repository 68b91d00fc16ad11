"""Stories of somebody who knows less than the reader: Sally and Anne (Wimmer & Perner 1983;
Baron-Cohen, Leslie & Frith 1985), what somebody was told, a box with the wrong label (Perner,
Leekam & Wimmer 1987), beliefs about beliefs (Perner & Wimmer 1985), and habits with their chances.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from fledge.tasks.minds.beliefs import NOTHING, Event, believe, move
from fledge.tasks.minds.scene import PEOPLE, Kind, Question, Scene, ask, count, remember
from fledge.tasks.worlds.world import Draws

PLACES = ("basket", "box", "drawer", "bag", "cupboard", "pot", "chest", "bucket")
THINGS = ("ball", "key", "coin", "ring", "book", "doll", "whistle", "marble")
ROOMS = ("kitchen", "garden", "hall", "attic", "garage", "school")
CONTENTS = ("honey", "buttons", "sugar", "nails", "rice", "candles", "seeds", "chalk")
PACKS = ("jar", "tin", "carton", "sack")


def ask_where(
    draw: Draws, events: list[Event], thing: str, places: Sequence[str], person: str
) -> tuple[Question, Question]:
    """What a person believes, and what is true."""
    looks = f"Where will {person} look for the {thing} first?"
    where = believe(events).popitem()[0]
    return (
        ask(draw, looks, believe(events, person), places),
        remember(draw, f"Where is the {thing} now?", where, places),
    )


def make_moved(draw: Draws) -> Scene:
    """One to three moves, some of which the other sees."""
    a, b = draw.several(PEOPLE, 2)
    thing, room, places = draw.one(THINGS), draw.one(ROOMS), draw.several(PLACES, 3)
    text = [f"{a} and {b} are in the {room}. {a} puts the {thing} into the {places[0]}."]
    events, here, where = [move(places[0])], True, places[0]
    for _ in range(1 + draw.integer(3)):
        sees = bool(draw.integer(2))
        if sees and not here:
            text.append(f"{a} comes back.")
        elif here and not sees:
            text.append(f"{a} goes away.")
        here = sees
        to = draw.one([place for place in places if place != where])
        seen = f"{a} watches how {b}" if here else f"{a} does not see how {b}"
        text.append(f"{seen} moves the {thing} from the {where} to the {to}.")
        events.append(move(to) if here else move(to, a))
        where = to
    if not here:
        text.append(f"{a} comes back.")
    return Scene(" ".join(text), ask_where(draw, events, thing, places, a))


def make_told(draw: Draws) -> Scene:
    """Somebody says where it is: to one or to the other, truly or not."""
    a, b, c = draw.several(PEOPLE, 3)
    thing, places = draw.one(THINGS), draw.several(PLACES, 3)
    # so that what is believed is true in a third of the stories
    said, to = draw.one([*places, places[1]]), draw.one([a, a, b])
    # what is said moves nothing; who believes it takes the thing to be there
    view = {to: ((Event(said), Fraction(1)),)} if to == a else {}
    events = [move(places[0]), move(places[1], a), Event(None, view)]
    text = (
        f"{a} puts the {thing} into the {places[0]} and goes out. {b} moves the {thing} to the "
        f'{places[1]}. Outside, {c} says to {to}: "The {thing} is in the {said}." Nobody else '
        f"hears it. {a} believes every word that {c} says, and {b} none."
    )
    if to == b:
        text = text.replace("Outside, ", "")
    return Scene(text, ask_where(draw, events, thing, places, a))


def make_contents(draw: Draws) -> Scene:
    """A label that is right or wrong, and somebody who has looked inside or has not."""
    a, b = draw.several(PEOPLE, 2)
    pack, stuff = draw.one(PACKS), draw.several(CONTENTS, 3)
    changed, looked = bool(draw.integer(4)), bool(draw.integer(2))
    events = [move(stuff[0])]
    text = [f'On the table stands a closed {pack}. Its label says "{stuff[0]}".']
    if changed:
        text.append(f"{b} has emptied the {pack} and filled it with {stuff[1]}.")
        events.append(move(stuff[1], a))
    else:
        text.append(f"{b} has filled it with {stuff[0]}, and has put the {stuff[1]} elsewhere.")
    if looked:
        text.append(f"{a} opens the {pack}, looks inside and closes it.")
        events.append(Event(believe(events).popitem()[0]))
    else:
        text.append(f"{a} was not there, and reads the label without opening the {pack}.")
    really = believe(events).popitem()[0]
    return Scene(
        " ".join(text),
        (
            ask(draw, f"What does {a} think is in the {pack}?", believe(events, a), stuff),
            remember(draw, f"What is in the {pack}?", really, stuff),
        ),
    )


def make_second_order(draw: Draws) -> Scene:
    """Where does the one who moves it think that the other will look?"""
    a, b = draw.several(PEOPLE, 2)
    thing, places = draw.one(THINGS), draw.several(PLACES, 3)
    text = (
        f"{a} puts the {thing} into the {places[0]} and goes out. {b} moves it to the {places[1]}."
    )
    unseen = move(places[1], a)
    way = draw.integer(3)
    if way == 0:
        text += f" {a} is far away by then. Later {a} comes back."
        moved = unseen
    elif way == 1:
        text += f" {a} watches through the window, and {b} does not notice. Later {a} comes back."
        moved = Event(places[1], {b: ((unseen, Fraction(1)),)})
    else:
        text += f" {a} watches through the window, and {b} waves at {a}. Later {a} comes back."
        moved = move(places[1])
    events = [move(places[0]), moved]
    belief, truth = ask_where(draw, events, thing, places, a)
    nested = ask(
        draw,
        f"Where does {b} think that {a} will look for the {thing} first?",
        believe(events, b, a),
        places,
    )
    # What the first person believes is asked here for comparison, not as what the kind is about.
    beside = Question(belief.text, belief.chances, control=True)
    return Scene(text, (nested, beside, truth))


def make_habit(draw: Draws) -> Scene:
    """What somebody usually does, and a noise behind a door: Bayes' rule with the chances told.
    Drawn again until one place is likelier than the others.
    """
    while True:
        a, b = draw.several(PEOPLE, 2)
        thing, places = draw.one(THINGS), draw.several(PLACES, 3)
        first = 1 + draw.integer(8)
        second = 1 + draw.integer(9 - first)
        habit = [first, second, 10 - first - second]
        loud = [
            0,
            1 + draw.integer(9),
            1 + draw.integer(9),
        ]  # of ten times; who moves nothing is silent
        heard = bool(draw.integer(2))
        noise = [times if heard else 10 - times for times in loud]
        expected = tuple(
            (NOTHING if i == 0 else Event(places[i]), Fraction(habit[i] * noise[i], 100))
            for i in range(3)
        )
        possible = [places[i] for i in range(3) if habit[i] * noise[i]]
        events = [move(places[0]), Event(draw.one(possible), {a: expected})]
        question, truth = ask_where(draw, events, thing, places, a)
        if question.is_decided:
            break
    now = truth.best
    does = f"leaves it in the {now}" if now == places[0] else f"moves it to the {now}"
    text = (
        f"{a} puts the {thing} into the {places[0]} and waits outside. {a} knows {b} well: out of "
        f"ten times {b} leaves a thing in the {places[0]} {count(habit[0])}, moves it to the "
        f"{places[1]} {count(habit[1])} and to the {places[2]} {count(habit[2])}. Moving it to the "
        f"{places[1]} makes a noise {count(loud[1])} out of ten, to the {places[2]} "
        f"{count(loud[2])} out of ten; leaving it is silent. This time {b} {does}. {a} sees "
        f"nothing and hears {'a noise' if heard else 'no noise'}."
    )
    return Scene(text, (question, truth))


FALSE_BELIEFS = {
    "moved": Kind(make_moved, 2),
    "told": Kind(make_told, 2),
    "contents": Kind(make_contents, 2),
    "second_order": Kind(make_second_order, 3),
    "habit": Kind(make_habit, 2),
}
