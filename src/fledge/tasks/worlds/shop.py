"""A small web shop of linked pages: something is described, and is to be bought.

After WebShop (Yao et al. 2022, arXiv 2207.01206), of whose reward this has the form: the share of
what was asked for that the thing bought has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fledge.tasks.worlds.world import Draws, World

KINDS = ("lamp", "mug", "shirt", "chair", "bag", "clock", "rug", "kettle")
COLOURS = ("red", "blue", "green", "black", "white", "yellow")
SIZES = ("small", "medium", "large")
A_PAGE = 3


@dataclass(frozen=True)
class Item:
    """Something on sale. name: such as lamp3, by which its page is opened."""

    name: str
    kind: str
    colour: str
    size: str
    price: int


@dataclass
class Shop:
    """items: by kind, as the pages list them. asks: what is wanted, as words and as a test.
    target: an item that passes all of them.

    Pages: "" is the front page, a kind's name its list, an item's name the item.
    """

    items: dict[str, list[Item]]
    asks: list[tuple[str, Callable[[Item], bool]]]
    target: Item
    shows: bool  # whether a list says colours and sizes
    page: str = ""
    part: int = 0  # of a list that has more than one page
    before: list[tuple[str, int]] = field(default_factory=list)
    bought: Item | None = None

    @property
    def opening(self) -> str:
        wish = " ".join(words for words, _ in self.asks)
        return (
            f"Goal: buy a {wish}.\n{self.look()}\nSay one command: open LINK, next, back, buy ITEM."
        )

    @property
    def layout(self) -> str:
        return repr(([words for words, _ in self.asks], self.items))

    @property
    def over(self) -> bool:
        return self.bought is not None

    @property
    def progress(self) -> float:
        """The share of what was asked for that was bought; 0 before."""
        if self.bought is None:
            return 0.0
        return sum(test(self.bought) for _, test in self.asks) / len(self.asks)

    def act(self, command: str) -> str:
        match command.lower().rstrip(".").split():
            case ["open", link]:
                return self._open(link)
            case ["next"]:
                return self._turn_page()
            case ["back"]:
                if not self.before:
                    return "This is the first page."
                self.page, self.part = self.before.pop()
                return self.look()
            case ["buy", name]:
                return self._buy(name)
            case _:
                return "That is no command."

    def look(self) -> str:
        """The page as it is."""
        if not self.page:
            return f"Shop. Links: {', '.join(self.items)}."
        if self.page in self.items:
            told = [self._tell(item, whole=self.shows) for item in self._listed()]
            more = len(self.items[self.page]) > (self.part + 1) * A_PAGE
            return f"Page {self.page}. {'; '.join(told)}.{' There is a next page.' if more else ''}"
        return f"Page {self.page}. {self._tell(self._all()[self.page], whole=True)}."

    def solve(self) -> list[str]:
        """From the front page through the list of its kind, page by page; what the list does not
        say is read on the pages of the items that may be it.
        """
        kind = self.target.kind
        way = [f"open {kind}"]
        for place, item in enumerate(self.items[kind]):
            if place and place % A_PAGE == 0:
                way.append("next")
            fits = all(test(item) for _, test in self.asks)
            if not self.shows and self._may_be(item):
                way.append(f"open {item.name}")
                if not fits:
                    way.append("back")
            if fits:
                return [*way, f"buy {item.name}"]
        raise AssertionError("the target fits")

    def _may_be(self, item: Item) -> bool:
        """Whether its price, which every list says, is one that is asked for."""
        return all(test(item) for words, test in self.asks if words.startswith("for"))

    def _open(self, link: str) -> str:
        there = list(self.items) if not self.page else [item.name for item in self._listed()]
        if link not in there:
            return f"There is no link {link} here."
        self.before.append((self.page, self.part))
        self.page, self.part = link, 0
        return self.look()

    def _turn_page(self) -> str:
        if (self.part + 1) * A_PAGE >= len(self.items.get(self.page, [])):
            return "There is no next page."
        self.before.append((self.page, self.part))
        self.part += 1
        return self.look()

    def _buy(self, name: str) -> str:
        seen = [item.name for item in self._listed()] if self.page in self.items else [self.page]
        if name not in seen or name not in self._all():
            return f"There is no {name} to buy here."
        self.bought = self._all()[name]
        return f"You have bought {name}."

    def _listed(self) -> list[Item]:
        return self.items.get(self.page, [])[self.part * A_PAGE :][:A_PAGE]

    def _all(self) -> dict[str, Item]:
        return {item.name: item for items in self.items.values() for item in items}

    @staticmethod
    def _tell(item: Item, *, whole: bool) -> str:
        kind = f"{item.size} {item.colour} {item.kind}" if whole else item.kind
        return f"{item.name}: {kind}, {item.price} coins"


def begin(level: int, draws: Draws) -> Shop:
    """Level 1: a colour, told on the list. 2: a size too. 3: lists say prices alone, the rest
    stands on an item's own page. 4: lists of two pages. 5: at a price at most.
    """
    items = {}
    for kind in draws.several(KINDS, min(level + 1, 4)):
        number = 2 * A_PAGE if level >= 4 else A_PAGE
        looks = draws.several([(c, s) for c in COLOURS for s in SIZES], number)
        items[kind] = [
            Item(f"{kind}{i + 1}", kind, colour, size, 5 + draws.integer(45))
            for i, (colour, size) in enumerate(looks)
        ]
    target = draws.one(items[draws.one(list(items))])
    asks: list[tuple[str, Callable[[Item], bool]]] = [
        (target.colour, lambda item: item.colour == target.colour),
        (target.kind, lambda item: item.kind == target.kind),
    ]
    if level >= 2:
        asks.insert(0, (target.size, lambda item: item.size == target.size))
    if level >= 5:
        most = target.price + draws.integer(5)
        asks.append((f"for at most {most} coins", lambda item: item.price <= most))
    return Shop(items, asks, target, shows=level <= 2)


SHOP = World("shop", begin, turns=(5, 5, 10, 18, 18))
