"""Which tokens of a conversation the assistant chose, by somebody else's chat template.

It is what the template encloses in {% generation %}. Where it has none, an answer begins where the
prompt that waits for it ends, token by token, and ends with the first token that ends a turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from fledge.errors import UserError
from fledge.text.rendering import Rendering
from fledge.text.special_text import SpecialText

if TYPE_CHECKING:
    from fledge.text.foreign import ForeignTokenizer

Span = tuple[int, int]


class Answers:
    """Finds them in one conversation."""

    def __init__(self, tokenizer: ForeignTokenizer, rendering: Rendering, reply: bool) -> None:
        """reply: whether the conversation ends in a prompt for another answer."""
        self.tokenizer, self.rendering, self.reply = tokenizer, rendering, reply
        self.whole = rendering.write(len(rendering.messages), reply)

    def find(self, wanted: Sequence[int]) -> tuple[list[int], list[Span]]:
        """The ids, and where the answers of those messages stand in them.

        Raises UserError for an answer whose tokens cannot be told from what is around it.
        """
        if not wanted:
            return self.tokenizer.encode_special(self.whole), []
        if self.rendering.template.marks_answers:
            return self._read_spans(wanted)
        return self._find_spans(wanted)

    def _read_spans(self, wanted: Sequence[int]) -> tuple[list[int], list[Span]]:
        messages = self.rendering.messages
        spans, unmarked = self.rendering.list_marked(len(messages), self.reply)
        if not self.whole.guarded.startswith(unmarked):
            raise UserError(
                f"the chat template of {self.rendering.template.whose} writes another text where "
                "answers are marked: mend its {% generation %}."
            )
        if list(wanted) != [i for i, each in enumerate(messages) if each["role"] == "assistant"]:
            # Which of the marked texts are whose is seen message by message.
            counts = [
                [len(self.rendering.list_marked(upto, False)[0]) for upto in (number, number + 1)]
                for number in wanted
            ]
            spans = [span for first, last in counts for span in spans[first:last]]
        ids, counts = self._split_at([place for span in spans for place in span])
        return ids, list(zip(counts[::2], counts[1::2], strict=True))

    def _find_spans(self, wanted: Sequence[int]) -> tuple[list[int], list[Span]]:
        prompts = [self.rendering.write(number, True).guarded for number in wanted]
        whole = self.whole.guarded
        places = [len(text) for text in prompts if whole.startswith(text) and text != whole]
        ids, counts = self._split_at(places)
        begun = dict(zip(places, counts, strict=True))
        starts = [
            begun[len(text)]
            if whole.startswith(text) and len(text) in begun
            else self._find_start(ids, number)
            for number, text in zip(wanted, prompts, strict=True)
        ]
        limits = [*starts[1:], len(ids)]
        return ids, [
            (start, self._find_end(ids, number, start, limit))
            for number, start, limit in zip(wanted, starts, limits, strict=True)
        ]

    def _find_start(self, ids: list[int], number: int) -> int:
        """Where an answer begins whose prompt ends in what no answer of the past begins with, such
        as an open <think>: where the two part, if that is within what the prompt adds.
        """
        prompt = self.rendering.write(number, True)
        start = count_equal(self.tokenizer.encode_special(prompt), ids)
        earlier = self.tokenizer.encode_special(self.rendering.write(number, False))
        if ids[: len(earlier)] != earlier or start <= len(earlier):
            raise self._explain(prompt)
        return start

    def _find_end(self, ids: list[int], number: int, start: int, limit: int) -> int:
        """Where the answer of a message ends: after what ends its turn or, without that, where the
        conversation up to it does.
        """
        ends, special = self.tokenizer.ends, self.tokenizer.special
        for place in range(start, limit):
            if ids[place] in ends:
                return place + 1
        text = self.rendering.write(number + 1, False)
        upto = self.tokenizer.encode_special(text)
        same = count_equal(upto, ids)
        if same == len(upto) >= start:
            return same
        # Some close an answer by another token where something follows it.
        if start <= same < len(upto) and upto[same] in ends and ids[same] in special:
            return same + 1
        raise self._explain(text)

    def _split_at(self, places: Sequence[int]) -> tuple[list[int], list[int]]:
        """The ids, of which none goes across a place in the text, and how many come before each.

        They are those of the whole text, but where a token would go across: there both sides are
        encoded apart, as they are when a model is to go on with the one and has the other to say.
        """
        ids = self.tokenizer.encode_special(self.whole)
        cuts: list[int] = []
        for place in places:
            before = self.tokenizer.encode_special(self.whole.upto(place))
            if ids[: len(before)] != before:
                cuts.append(place)
        counts = [len(self._encode_apart(self.whole.upto(place), cuts)) for place in places]
        return self._encode_apart(self.whole, cuts), counts

    def _encode_apart(self, text: SpecialText, cuts: Sequence[int]) -> list[int]:
        """The ids of the pieces between those cuts that lie within the text."""
        places = [0, *(cut for cut in cuts if cut < len(text.guarded)), len(text.guarded)]
        ids: list[int] = []
        for start, end in pairwise(places):
            piece = text.between(start, end)
            new = self.tokenizer.encode_special(piece, inside=start > 0)
            if start and self.tokenizer.decode_bytes(new) != piece.plain():
                raise self._explain(text.upto(start))
            ids += new
        return ids

    def _explain(self, before: SpecialText) -> UserError:
        return UserError(
            f"the chat template of {self.rendering.template.whose} does not let an answer be told "
            f"from what is before it, after {before.text[-60:]!r}: use a template that encloses "
            "answers in {% generation %}, or set `train` to false for that turn."
        )


def count_equal(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two begin with alike."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
