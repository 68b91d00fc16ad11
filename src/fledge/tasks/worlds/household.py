"""A household: things lie in rooms and in what can be opened, and are to be put elsewhere.

After the tasks of ALFWorld (Shridhar et al. 2021, arXiv 2010.03768), with rooms of our own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fledge.tasks.worlds.explorer import Explorer
from fledge.tasks.worlds.household_names import HELD, HOLDERS, ROOMS, SHUT, THINGS, WATER
from fledge.tasks.worlds.world import Draws, World


@dataclass
class Household:
    """rooms: each with those it leads to. where: of a thing, the room, the holder or HELD. goals:
    of a thing, the holder it is to be in. dirty: what must be washed before it counts.
    """

    here: str
    rooms: dict[str, list[str]]
    holders: dict[str, str]  # the room of each
    where: dict[str, str]
    goals: dict[str, str]
    shut: set[str] = field(default_factory=set)
    dirty: set[str] = field(default_factory=set)

    @property
    def opening(self) -> str:
        wishes = [
            f"put the {'clean ' if thing in self.dirty else ''}{thing} in the {holder}"
            for thing, holder in self.goals.items()
        ]
        can = "go PLACE, take THING, put THING in THING, open THING, look"
        return (
            f"Goal: {' and '.join(wishes)}.\n{self.look()}\n"
            f"Say one command: {can}{', wash THING' if self.dirty else ''}."
        )

    @property
    def layout(self) -> str:
        return repr(
            (self.here, self.rooms, self.holders, self.where, self.goals, sorted(self.shut))
        )

    @property
    def over(self) -> bool:
        return self.progress == 1.0

    @property
    def progress(self) -> float:
        """Of each thing half while it is held, all in its place: clean, where that is wanted."""
        reached = 0.0
        for thing, holder in self.goals.items():
            if thing not in self.dirty and self.where[thing] == holder:
                reached += 1.0
            elif self.where[thing] == HELD:
                reached += 0.5
        return reached / len(self.goals)

    def act(self, command: str) -> str:
        words = command.lower().rstrip(".").split()
        words = [word for word in words if word not in ("the", "a", "to")]
        match words:
            case ["look"]:
                return self.look()
            case ["go", place]:
                return self._go(place)
            case ["take", thing, *_]:
                return self._take(thing)
            case ["open", holder]:
                return self._open(holder)
            case ["put", thing, "in" | "on" | "into", holder]:
                return self._put(thing, holder)
            case ["wash", thing]:
                return self._wash(thing)
            case _:
                return "That is no command."

    def look(self) -> str:
        """The room, what is open to see in it, and where it leads."""
        seen = [f"{a} in the {b}" for a, b in self.where.items() if b in self.list_open()]
        seen += [thing for thing, place in self.where.items() if place == self.here]
        seen += [
            f"shut {holder}" if holder in self.shut else holder
            for holder, room in self.holders.items()
            if room == self.here
        ]
        ways = ", ".join(self.rooms[self.here])
        return f"You are in the {self.here}. Here: {', '.join(seen) or 'nothing'}. Ways: {ways}."

    def solve(self) -> list[str]:
        return Explorer(self).reach_goals()

    def _go(self, place: str) -> str:
        if place not in self.rooms[self.here]:
            return f"There is no way to {place} from here."
        self.here = place
        return self.look()

    def _take(self, thing: str) -> str:
        if self.where.get(thing) not in (self.here, *self.list_open()):
            return f"There is no {thing} here."
        self.where[thing] = HELD
        return f"You have the {thing}."

    def _open(self, holder: str) -> str:
        if self.holders.get(holder) != self.here:
            return f"There is no {holder} here."
        if holder not in self.shut:
            return f"The {holder} is open."
        self.shut.discard(holder)
        inside = [thing for thing, place in self.where.items() if place == holder]
        return f"The {holder} is open. In it: {', '.join(inside) or 'nothing'}."

    def _put(self, thing: str, holder: str) -> str:
        if self.where.get(thing) != HELD:
            return f"You have no {thing}."
        if self.holders.get(holder) != self.here:
            return f"There is no {holder} here."
        if holder in self.shut:
            return f"The {holder} is shut."
        self.where[thing] = holder
        return f"The {thing} is in the {holder}."

    def _wash(self, thing: str) -> str:
        if self.where.get(thing) != HELD:
            return f"You have no {thing}."
        if self.here not in WATER:
            return "There is no water here."
        self.dirty.discard(thing)
        return f"The {thing} is clean."

    def list_open(self) -> list[str]:
        """The holders here that one can see into."""
        return [
            holder
            for holder, room in self.holders.items()
            if room == self.here and holder not in self.shut
        ]

    def find_way(self, start: str, end: str) -> list[str]:
        """The rooms on the way, the last one included; rooms make a tree, so there is one way."""
        ways = {start: list[str]()}
        waiting = [start]
        for room in waiting:
            for beyond in self.rooms[room]:
                if beyond not in ways:
                    ways[beyond] = [*ways[room], beyond]
                    waiting.append(beyond)
        return ways[end]


def begin(level: int, draws: Draws) -> Household:
    """Level 1: two rooms, two holders, two things. Each further one has one more of each; some
    holders are shut from 2 on; from 4 on there are two goals, and at 5 a thing is dirty.
    """
    names = draws.several(ROOMS, level + 1)  # at 5 all there are, water in some
    rooms: dict[str, list[str]] = {names[0]: []}
    for name in names[1:]:
        other = draws.one(list(rooms))
        rooms[other].append(name)
        rooms[name] = [other]
    holders = {name: draws.one(names) for name in draws.several(HOLDERS, level + 1)}
    shut = {name for name in holders if level >= 2 and name in SHUT and draws.integer(2)}
    things = draws.several(THINGS, level + 1)
    wanted = draws.several(list(holders), 2 if level >= 4 else 1)
    goals = dict(zip(things, wanted, strict=False))
    where = {}
    for thing in things:
        places = [*names, *holders]
        where[thing] = draws.one([place for place in places if place != goals.get(thing)])
    dirty = {things[0]} if level >= 5 else set[str]()
    return Household(draws.one(names), rooms, holders, where, goals, shut, dirty)


HOUSEHOLD = World("household", begin, turns=(8, 14, 24, 40, 60))
