"""What is asked of one document alone, in order: the first filter that refuses it says why."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fledge.curate.private import hide_private
from fledge.curate.rules import RULES
from fledge.evaluate.contamination import find_run

KEPT = "kept"


@dataclass(frozen=True)
class Judged:
    """text: as it would be kept. step: the filter that refused it, or `KEPT`. reason: what was
    measured and what is allowed. hidden: personal data and secrets that were replaced.
    """

    text: str
    step: str = KEPT
    reason: str = ""
    hidden: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Filters:
    """rules: names in `RULES`. wanted: runs of words of evaluation files, by their length.
    foretell: bits per byte of a text by a model, of which `most_bits` are allowed.
    """

    rules: Sequence[str] = ()
    private: bool = False
    wanted: Mapping[int, set[str]] = field(default_factory=dict)
    foretell: Callable[[str], float] | None = None
    most_bits: float = float("inf")

    def judge(self, text: str) -> Judged:
        """Nothing is kept between documents."""
        for name in self.rules:
            reason = RULES[name](text)
            if reason is not None:
                return Judged(text, name, reason)
        if self.wanted and (run := find_run(text, self.wanted)):
            return Judged(text, "against", f"stands in what a model is evaluated on: {run}")
        if self.foretell is not None and (bits := self.foretell(text)) > self.most_bits:
            return Judged(text, "model", f"{bits:.2f} bits per byte, and {self.most_bits:g} may be")
        return self.keep(text)

    def keep(self, text: str) -> Judged:
        """Of a text that is known to be kept."""
        if not self.private:
            return Judged(text)
        shown, hidden = hide_private(text)
        return Judged(shown, hidden=hidden)


def digest(text: str) -> bytes:
    """Of a text, whatever its white space: what is an exact copy.  16 bytes"""
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "surrogatepass")).digest()[:16]
