"""A prompt of labelled examples and one text to label, as plain text: Brown et al. 2020, §2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fledge.errors import UserError
from fledge.prompting.speaker import Saying, Speaker

UNREAD = -1  # of what was said and is none of the labels


@dataclass(frozen=True)
class Labelled:
    """label: its place among the labels' names."""

    text: str
    label: int


@dataclass(frozen=True)
class LabelPrompt:
    """template: an example, with {text} and {label}; the prompt ends where the label would stand.
    Raises UserError for one without these two at its end.
    """

    names: tuple[str, ...]
    template: str = "Text: {text}\nLabel: {label}"

    def __post_init__(self) -> None:
        before, mark, after = self.template.partition("{label}")
        if not mark or after.strip() or before.count("{text}") != 1:
            raise UserError(
                f"template={self.template!r} was given: it has {{text}} once and ends in {{label}}."
            )

    def write(self, shown: Sequence[Labelled], text: str) -> str:
        parts = [self._fill(each.text, self.names[each.label]) for each in shown]
        return "\n\n".join([*parts, self._fill(text, "").rstrip()])

    def label(
        self, speaker: Speaker, shown: Sequence[Labelled], texts: Sequence[str], seed: int = 0
    ) -> list[int]:
        """The label that is said of each text, greedily; UNREAD where it is none. [N] -> [N]"""
        longest = max(len(name.encode()) for name in self.names)
        saying = Saying(
            longest + 2, stop=("\n",), seed=seed,
            choices=tuple(f" {name}" for name in self.names),
        )  # fmt: skip
        said = speaker.say([self.write(shown, text) for text in texts], saying)
        return [self.read(text) for text in said]

    def read(self, said: str) -> int:
        """The longest name that a text begins with, letter case aside."""
        plain = said.strip().casefold()
        fits = [i for i, name in enumerate(self.names) if plain.startswith(name.casefold())]
        return max(fits, key=lambda i: len(self.names[i]), default=UNREAD)

    def _fill(self, text: str, label: str) -> str:
        return self.template.replace("{label}", label).replace("{text}", text)
