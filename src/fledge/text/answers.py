"""Which tokens of a conversation the assistant chose, by somebody else's chat template.

It is what the template encloses in {% generation %}. Where it has none, an answer begins where the
prompt that waits for it ends, token by token, and ends with the first token that ends a turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
        ids, places = self._split_at([place for span in spans for place in span])
        return ids, [(places[start], places[end]) for start, end in spans if end > start]

    def _find_spans(self, wanted: Sequence[int]) -> tuple[list[int], list[Span]]:
        prompts = {number: self.rendering.write(number, True) for number in wanted}
        begun = {number: self._measure(text) for number, text in prompts.items()}
        ids, places = self._split_at(begun.values())
        starts = self._find_starts(ids, prompts, begun, places)
        # Without a token that ends it, an answer goes as far as the conversation up to it.
        unended = [number for number in wanted if self._find_end(ids, starts, number) is None]
        shown = {number: self.rendering.write(number + 1, False) for number in unended}
        whole = {number: self._measure(text) for number, text in shown.items()}
        if any(whole.values()):
            ids, places = self._split_at([*begun.values(), *whole.values()])
            starts = self._find_starts(ids, prompts, begun, places)
        spans: list[Span] = []
        for number in wanted:
            end = self._find_end(ids, starts, number)
            if end is None and whole[number]:
                end = places[whole[number]]
            elif end is None:
                end = self._find_other_end(ids, starts[number], shown[number])
            spans.append((starts[number], end))
        return ids, spans

    def _measure(self, beginning: SpecialText) -> int:
        """How much of the whole text a text is the beginning of: its length, or 0 for none."""
        matches = self.whole.guarded.startswith(beginning.guarded)
        return len(beginning.guarded) if matches else 0

    def _find_starts(
        self,
        ids: list[int],
        prompts: Mapping[int, SpecialText],
        begun: Mapping[int, int],
        places: Mapping[int, int],
    ) -> dict[int, int]:
        """Where the answers begin, by message."""
        return {
            number: places[begun[number]] if begun[number] else self._part(ids, number, prompt)
            for number, prompt in prompts.items()
        }

    def _part(self, ids: list[int], number: int, prompt: SpecialText) -> int:
        """Where an answer begins whose prompt ends in what no answer of the past begins with, such
        as an open <think>: where the two part, if that is within what the prompt adds.
        """
        start = count_equal(self.tokenizer.encode_special(prompt), ids)
        earlier = self.tokenizer.encode_special(self.rendering.write(number, False))
        if ids[: len(earlier)] != earlier or start <= len(earlier):
            raise self._explain(prompt)
        return start

    def _find_end(self, ids: list[int], starts: Mapping[int, int], number: int) -> int | None:
        """After the first token that ends a turn, if the next answer does not begin before."""
        later = [start for other, start in starts.items() if other > number]
        for place in range(starts[number], min(later, default=len(ids))):
            if ids[place] in self.tokenizer.ends:
                return place + 1
        return None

    def _find_other_end(self, ids: list[int], start: int, shown: SpecialText) -> int:
        """Some templates close an answer by another token where something follows it."""
        upto = self.tokenizer.encode_special(shown)
        place = count_equal(upto, ids)
        closed = start <= place < len(upto) and upto[place] in self.tokenizer.ends
        if not closed or ids[place] not in self.tokenizer.special:
            raise self._explain(shown)
        return place + 1

    def _split_at(self, places: Iterable[int]) -> tuple[list[int], dict[int, int]]:
        """The ids, of which none goes across a place in the text, and how many come before each.

        They are those of the whole text, but where a token would go across: there both sides are
        encoded apart, as they are when a model is to go on with the one and has the other to say.
        """
        wanted = sorted({place for place in places if place})
        ids = self.tokenizer.encode_special(self.whole)
        cuts: list[int] = []
        for place in wanted:
            before = self.tokenizer.encode_special(self.whole.upto(place))
            if ids[: len(before)] != before:
                cuts.append(place)
        counts = {0: 0} | {
            place: len(self._encode_apart(self.whole.upto(place), cuts)) for place in wanted
        }
        return self._encode_apart(self.whole, cuts), counts

    def _encode_apart(self, text: SpecialText, cuts: Sequence[int]) -> list[int]:
        """The ids of the pieces between those cuts that lie within the text."""
        places = [0, *(cut for cut in cuts if cut < len(text.guarded)), len(text.guarded)]
        ids: list[int] = []
        for start, end in pairwise(places):
            piece = text.between(start, end)
            new = self.tokenizer.encode_special(piece, inside=start > 0)
            # Some tokenizers put a space before every piece of text, which is not in this one.
            if start and not piece.plain().startswith(self.tokenizer.decode_bytes(new[:1])):
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
