"""Finds its way through a household that it does not know."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from fledge.tasks.worlds.household_names import HELD, WATER

if TYPE_CHECKING:
    from fledge.tasks.worlds.household import Household


class Explorer:
    """Reaches the goals by what it has seen, so that who learns from its commands learns to look.

    Things are looked for in the nearest room that has not been visited or has something shut in it.
    """

    def __init__(self, world: Household) -> None:
        self.world, self.commands = deepcopy(world), list[str]()
        self.visited, self.things = set[str](), dict[str, str]()  # the room of each thing seen
        self._notice()

    def reach_goals(self) -> list[str]:
        """All its commands."""
        world = self.world
        for thing, holder in world.goals.items():
            if world.where[thing] != HELD:
                while thing not in self.things:
                    self._look_further(opening=True)
                self._walk(self.things[thing])
                self._act(f"take {thing}")
            if thing in world.dirty:
                while not self.visited & set(WATER):
                    self._look_further(opening=False)
                self._walk(min(self.visited & set(WATER), key=self._measure))
                self._act(f"wash {thing}")
            while world.holders[holder] not in self.visited:
                self._look_further(opening=False)
            self._walk(world.holders[holder])
            if holder in world.shut:
                self._act(f"open {holder}")
            self._act(f"put {thing} in {holder}")
        return self.commands

    def _look_further(self, *, opening: bool) -> None:
        shut = {
            room: holder
            for holder, room in sorted(self.world.holders.items())
            if opening and holder in self.world.shut and room in self.visited
        }
        beside = {new for room in self.visited for new in self.world.rooms[room]} - self.visited
        room = min({*shut, *beside}, key=self._measure)
        self._walk(room)
        if room in shut:
            self._act(f"open {shut[room]}")

    def _measure(self, room: str) -> tuple[int, str]:
        """How far it is, and its name where several are as far."""
        return len(self.world.find_way(self.world.here, room)), room

    def _walk(self, room: str) -> None:
        for step in self.world.find_way(self.world.here, room):
            self._act(f"go {step}")

    def _act(self, command: str) -> None:
        self.commands.append(command)
        self.world.act(command)
        self._notice()

    def _notice(self) -> None:
        world = self.world
        self.visited.add(world.here)
        for thing, place in world.where.items():
            if place == world.here or place in world.list_open():
                self.things[thing] = world.here
