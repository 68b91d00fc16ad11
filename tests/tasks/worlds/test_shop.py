"""The shop, by a shop built by hand."""

from __future__ import annotations

import pytest

from fledge.tasks.worlds.shop import Item, Shop, begin
from fledge.tasks.worlds.world import Draws

LAMPS = [
    Item("lamp1", "lamp", "red", "small", 30),
    Item("lamp2", "lamp", "blue", "small", 20),
    Item("lamp3", "lamp", "red", "large", 10),
    Item("lamp4", "lamp", "red", "small", 9),
]


def make_shop(*, shows: bool = False) -> Shop:
    return Shop(
        {"lamp": LAMPS, "mug": [Item("mug1", "mug", "red", "small", 5)]},
        [
            ("small", lambda item: item.size == "small"),
            ("red", lambda item: item.colour == "red"),
            ("lamp", lambda item: item.kind == "lamp"),
            ("for at most 9 coins", lambda item: item.price <= 9),
        ],
        LAMPS[3],
        shows=shows,
    )


def test_pages_follow_their_links() -> None:
    shop = make_shop()
    assert shop.opening == (
        "Goal: buy a small red lamp for at most 9 coins.\nShop. Links: lamp, mug.\n"
        "Say one command: open LINK, next, back, buy ITEM."
    )
    first = "Page lamp. lamp1: lamp, 30 coins; lamp2: lamp, 20 coins; lamp3: lamp, 10 coins. There "
    told = {
        "back": "This is the first page.",
        "open lamp4": "There is no link lamp4 here.",
        "buy lamp1": "There is no lamp1 to buy here.",
        "next": "There is no next page.",
        "open lamp": first + "is a next page.",
        "Next.": "Page lamp. lamp4: lamp, 9 coins.",
        "next ": "There is no next page.",
        "open lamp1": "There is no link lamp1 here.",
        "open lamp4 ": "Page lamp4. lamp4: small red lamp, 9 coins.",
        "buy lamp3": "There is no lamp3 to buy here.",
        " back": "Page lamp. lamp4: lamp, 9 coins.",
        "back ": first + "is a next page.",
        "steal lamp1": "That is no command.",
        "buy lamp": "There is no lamp to buy here.",
    }
    for command, reply in told.items():
        assert shop.act(command) == reply
    assert shop.progress == 0.0
    assert shop.act("buy lamp2") == "You have bought lamp2."
    assert shop.over
    assert shop.progress == 0.5  # small, a lamp; neither red nor cheap


def test_lists_may_say_what_things_are() -> None:
    shop = make_shop(shows=True)
    assert shop.act("open mug") == "Page mug. mug1: small red mug, 5 coins."
    shop.act("back")
    assert shop.solve() == ["open lamp", "next", "buy lamp4"]
    assert make_shop().solve() == ["open lamp", "next", "open lamp4", "buy lamp4"]


@pytest.mark.parametrize("level", range(1, 6))
def test_a_goal_can_be_reached(level: int) -> None:
    for i in range(40):
        shop = begin(level, Draws(f"{level} {i}"))
        for command in shop.solve():
            assert not shop.over
            assert not shop.act(command).startswith(("There is no", "That is"))
        assert shop.progress == 1.0
