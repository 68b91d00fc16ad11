"""A judge: figures of what a run trains, on the validation part, which steers, and on the test
part, which is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fledge.splits import HeldOut

Figures = dict[str, float]


@dataclass(frozen=True)
class Judge:
    """read: (part, step) -> figures, by the same names on either part.

    headline: the figure that a run's last line tells of, if it has one; otherwise: the one that is
        told of where that is 0 throughout, as a judge may give points and call nothing right.
    ranks: the one by which checkpoints are ranked, by default the headline; lower_is_better is of
        that one.
    items: how many different things each part holds, and what one of them is called. apart: False
        where both parts are what was trained on. prefix: of the names that an evaluation logs.
    """

    read: Callable[[HeldOut, int], Figures]
    headline: str = ""
    ranks: str = ""
    lower_is_better: bool = False
    items: Mapping[HeldOut, int] = field(default_factory=dict)
    what: str = ""
    apart: bool = True
    prefix: str = ""
    otherwise: str = ""

    @property
    def logged(self) -> str:
        """The headline as an evaluation logs it."""
        return self.prefix + self.headline

    def steer(self, step: int) -> Figures:
        """The validation part's figures as an evaluation logs them."""
        return {
            f"{self.prefix}{name}": value for name, value in self.read("validation", step).items()
        }

    def test(self) -> Figures:
        return self.read("test", 0)

    def rank(self, evaluation: Mapping[str, float]) -> float:
        """More is better."""
        value = evaluation[f"{self.prefix}{self.ranks or self.headline}"]
        return -value if self.lower_is_better else value
