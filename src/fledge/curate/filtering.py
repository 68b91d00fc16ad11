"""What is asked of one document alone, in order: the first filter that refuses it says why."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fledge.curate.languages import Languages
from fledge.curate.private import hide_private
from fledge.curate.quality import QualityModel
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
    foretell: bits per byte of a text by a model, of which `most_bits` are allowed. quality: says a
    probability, of which `least_quality` is wanted.
    """

    rules: Sequence[str] = ()
    private: bool = False
    wanted: Mapping[int, set[str]] = field(default_factory=dict)
    foretell: Callable[[str], float] | None = None
    most_bits: float = float("inf")
    languages: Languages | None = None
    wanted_languages: Sequence[str] = ()
    quality: QualityModel | None = None
    least_quality: float = 0.0

    @property
    def steps(self) -> list[str]:
        """All that may refuse a document alone, in order."""
        return ["language", *self.rules, "against", "model", "quality"]

    def judge(self, text: str) -> Judged:
        """Nothing is kept between documents."""
        if self.languages is not None:
            language = self.languages.tell(text)
            if language not in self.wanted_languages:
                wanted = " or ".join(self.wanted_languages)
                return Judged(text, "language", f"looks like {language}, and {wanted} is wanted")
        for name in self.rules:
            reason = RULES[name](text)
            if reason is not None:
                return Judged(text, name, reason)
        if self.wanted and (run := find_run(text, self.wanted)):
            return Judged(text, "against", f"stands in what a model is evaluated on: {run}")
        if self.foretell is not None and (bits := self.foretell(text)) > self.most_bits:
            return Judged(text, "model", f"{bits:.2f} bits per byte, and {self.most_bits:g} may be")
        if self.quality is not None and self.least_quality > 0:
            score = self.quality.score(text)
            if score < self.least_quality:
                least = f"{self.least_quality:.3g}"
                return Judged(text, "quality", f"quality {score:.3g}, and {least} is wanted")
        return self.keep(text)

    def describe(self, text: str) -> dict[str, Any]:
        """What is written beside a document that is kept: its language, its quality."""
        told: dict[str, Any] = {}
        if self.languages is not None:
            told["language"] = self.languages.tell(text)
        if self.quality is not None:
            told["quality"] = round(self.quality.score(text), 6)
        return told

    def keep(self, text: str) -> Judged:
        """Of a text that is known to be kept."""
        if not self.private:
            return Judged(text)
        shown, hidden = hide_private(text)
        return Judged(shown, hidden=hidden)


def digest(text: str) -> bytes:
    """Of a text, whatever its white space: what is an exact copy.  16 bytes"""
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "surrogatepass")).digest()[:16]
