"""How an encoder reads one text or two: [CLS] a [SEP] b [SEP], by what the tokenizer's file says of
it, and which token stands for a masked one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fledge.errors import UserError
from fledge.text.foreign import ForeignTokenizer
from fledge.text.interface import Tokenizer


@dataclass(frozen=True)
class Frame:
    """before, between, after: what stands around a text, or around two. kinds: the token types of
    each of these and of the texts: before, first, between, second, after.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    mask: int | None
    pad: int
    kinds: tuple[int, int, int, int, int] = (0, 0, 0, 1, 1)
    special: frozenset[int] = field(default_factory=frozenset)

    def count(self, pair: bool = False) -> int:
        """How many tokens it adds."""
        return len(self.before) + len(self.after) + len(self.between) * pair

    def frame(
        self, first: Sequence[int], second: Sequence[int] | None = None, longest: int | None = None
    ) -> tuple[list[int], list[int]]:
        """The row, and the type of each of its tokens. longest: of the row; the longer of two texts
        loses its end first.
        """
        one, two = list(first), None if second is None else list(second)
        if longest is not None:
            room = max(0, longest - self.count(two is not None))
            one, two = cut_texts(one, two, room)
        kinds = self.kinds
        if two is None:
            ids = [*self.before, *one, *self.after]
            return ids, [0] * len(ids)
        parts = (self.before, one, self.between, two, self.after)
        ids = [number for part in parts for number in part]
        return ids, [kind for part, kind in zip(parts, kinds, strict=True) for _ in part]


def cut_texts(
    one: list[int], two: list[int] | None, room: int
) -> tuple[list[int], list[int] | None]:
    """To `room` tokens together, at the ends, off the longer one first."""
    if two is None:
        return one[:room], None
    over = len(one) + len(two) - room
    if over <= 0:
        return one, two
    shorter = min(len(one), len(two), room // 2)
    if len(one) <= len(two):
        return one[:shorter] if len(one) > room // 2 else one, two[: room - min(len(one), shorter)]
    return one[: room - min(len(two), shorter)], two[:shorter] if len(two) > room // 2 else two


def read_frame(tokenizer: Tokenizer) -> Frame:
    """Raises UserError for a tokenizer that does not say how a text is opened and closed."""
    pad = 0 if tokenizer.pad is None else tokenizer.pad
    if not isinstance(tokenizer, ForeignTokenizer):
        assert tokenizer.begin is not None
        assert tokenizer.end is not None
        end = (tokenizer.end,)
        return Frame((tokenizer.begin,), end, end, None, pad, special=tokenizer.special)
    files = tokenizer.files
    known = tokenizer.special_tokens
    mask = known.get(files.named.get("mask_token", ""))
    read = _read_processor(files.tokenizer.get("post_processor"), known)
    if read is None:
        raise UserError(
            f"the tokenizer of {files.folder} does not say what stands around a text (its "
            "tokenizer.json has no post_processor with [CLS] and [SEP]): use the encoder's own."
        )
    before, between, after, kinds = read
    return Frame(before, between, after, mask, pad, kinds, tokenizer.special)


def open_frame(tokenizer: Tokenizer) -> Frame:
    """How a decoder reads a text whose end it is asked of: what opens a document, and the text."""
    pad = 0 if tokenizer.pad is None else tokenizer.pad
    return Frame(tuple(tokenizer.opening), (), (), None, pad)


_Read = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, int, int, int, int]]


def _read_processor(processor: Mapping[str, Any] | None, ids: Mapping[str, int]) -> _Read | None:
    if processor is None:
        return None
    kind = processor["type"]
    if kind == "Sequence":
        read = (_read_processor(step, ids) for step in processor["processors"])
        return next((each for each in read if each is not None), None)
    if kind in ("BertProcessing", "RobertaProcessing"):
        cls, sep = (processor["cls"][1],), (processor["sep"][1],)
        if kind == "BertProcessing":
            return cls, sep, sep, (0, 0, 0, 1, 1)
        return cls, sep * 2, sep, (0, 0, 0, 0, 0)
    return _read_template(processor, ids) if kind == "TemplateProcessing" else None


def _read_template(processor: Mapping[str, Any], ids: Mapping[str, int]) -> _Read | None:
    """Of a pair, which must agree with what is said of a single text."""
    parts: list[list[int]] = [[], [], []]
    kinds = [0, 0, 0, 0, 0]
    place = 0
    for piece in processor["pair"]:
        if "Sequence" in piece:
            kinds[2 * place + 1] = piece["Sequence"]["type_id"]
            place += 1
            continue
        said = piece["SpecialToken"]
        known = processor.get("special_tokens", {}).get(said["id"])
        parts[place].extend(known["ids"] if known else [ids[said["id"]]])
        kinds[2 * place] = said["type_id"]
    if place != 2 or not parts[0] or not parts[2]:
        return None
    before, between, after = (tuple(part) for part in parts)
    return before, between, after, (kinds[0], kinds[1], kinds[2], kinds[3], kinds[4])
