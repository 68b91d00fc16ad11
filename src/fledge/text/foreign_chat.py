"""A conversation by the chat template of somebody else's model: as text, as token ids, and which of
them the assistant chose.

The text is what `transformers` makes of the same template. In the ids a special token stands where
the template wrote one and nowhere else: in what people said it is ordinary text.

What the assistant chose is what the template encloses in {% generation %}. Where it has none, an
answer begins where the prompt that waits for it ends, token by token, and ends with the first token
that ends a turn.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fledge.errors import UserError
from fledge.text.special_text import SpecialText, Spellings, choose_private
from fledge.text.templates import Template

if TYPE_CHECKING:
    from fledge.text.foreign import ForeignTokenizer

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]] | None

_SAID = ("content", "text", "reasoning_content", "reasoning", "thinking")
"""Keys whose texts a template puts side by side with others: their edges are guarded as well."""
_REASONING = ("reasoning_content", "thinking", "reasoning")
_ROLE = re.compile(r"[\w.-]{1,64}")


class ForeignChat:
    """The chat templates of a tokenizer."""

    def __init__(
        self,
        tokenizer: ForeignTokenizer,
        whose: str,
        templates: Mapping[str, str],
        words: Mapping[str, Any],
    ) -> None:
        """whose: what the model is called in errors; words: bos_token, eos_token, … as templates
        know them.
        """
        self.tokenizer, self.whose, self.words = tokenizer, whose, words
        self.templates = {name: Template(text, whose) for name, text in templates.items()}
        self.spellings = Spellings(tokenizer.special_tokens)

    def write(
        self, messages: Messages, *, reply: bool = False, tools: Tools = None, **more: Any
    ) -> str:
        """The text of a conversation. more: what else the template asks for, such as documents or
        enable_thinking. Raises UserError as `render` does.
        """
        return self._fill(_prepare(messages), reply, tools, more)

    def render(
        self, messages: Messages, *, reply: bool = False, tools: Tools = None
    ) -> tuple[list[int], list[bool]]:
        """The ids, and for each whether the assistant chose it; of turns whose `train` is False
        none is.

        Raises UserError for a conversation that the template refuses or fails on, and for an answer
        whose tokens cannot be told from what is around it.
        """
        rendering = _Rendering(self, messages, tools)
        whole = rendering.write(len(messages), reply)
        wanted = [
            number
            for number, message in enumerate(messages)
            if message.get("role") == "assistant" and message.get("train", True)
        ]
        if not wanted:
            ids = self.tokenizer.encode_special(whole)
            return ids, [False] * len(ids)
        if rendering.template.marks_answers:
            ids, spans = self._read_spans(rendering, whole, wanted, reply)
        else:
            ids, spans = self._find_spans(rendering, whole, wanted)
        chosen = [False] * len(ids)
        for start, end in spans:
            chosen[start:end] = [True] * (end - start)
        return ids, chosen

    def find_turn_end(self, stops: Collection[int]) -> int | None:
        """The special token that ends an answer in the template and is none of the `stops`; None
        where one of these ends it, or nothing does, or there is no template.
        """
        question = {"role": "user", "content": "a"}
        try:
            one, other = (
                _Rendering(self, [question, {"role": "assistant", "content": text}], None).encode(
                    2, False
                )[::-1]
                for text in ("b", "1.")
            )
        except UserError:
            return None
        after = one[: _count_equal(one, other)][::-1]
        if len(after) == len(one):
            return None  # a template that does not show what is said
        special = self.tokenizer.special
        place = next((i for i, token in enumerate(after) if token in special), None)
        if place is None or set(after[place : place + 2]) & set(stops):
            return None  # of two that follow at once, the second may be what the model ends with
        return after[place]

    def find_reply(self, ids: Sequence[int]) -> int:
        """Where the assistant first speaks: after what stands between a question and its answer, or
        as much of that as there is. The length of `ids` where it does not.
        """
        for size in range(len(self._between), 0, -1):
            between = list(self._between[:size])
            for place in range(len(ids) - size + 1):
                if list(ids[place : place + size]) == between:
                    return place + size
        return len(ids)

    @cached_property
    def _between(self) -> list[int]:
        """What every prompt ends with, whatever the question."""
        try:
            one, other = (
                self.render([{"role": "user", "content": text}], reply=True)[0][::-1]
                for text in ("a", "1.")
            )
        except UserError:
            return []
        return one[: _count_equal(one, other)][::-1]

    def choose(self, tools: Tools) -> Template:
        """The template for a conversation. Raises UserError where there is none."""
        for name in ("tool_use", "default") if tools else ("default",):
            if name in self.templates:
                return self.templates[name]
        if not self.templates:
            raise UserError(
                f"{self.whose} has no chat template, as a model that only continues text: put the "
                "chat_template.jinja of the conversations it is to have beside its tokenizer.json."
            )
        raise UserError(
            f"{self.whose} has the chat templates {', '.join(sorted(self.templates))} and none "
            "that is called default: name one of them so."
        )

    def _fill(
        self,
        messages: list[Any],
        reply: bool,
        tools: Any,
        more: Mapping[str, Any],
        marks: tuple[str, str] = ("", ""),
    ) -> str:
        variables = {
            "messages": messages, "tools": tools, "documents": None,
            "add_generation_prompt": reply, **self.words, **more,
        }  # fmt: skip
        return self.choose(tools).render(variables, marks)

    def _read_spans(
        self, rendering: _Rendering, whole: SpecialText, wanted: list[int], reply: bool
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids and what {% generation %} encloses of the answers in them."""
        spans, unmarked = rendering.list_marked(len(rendering.messages), reply)
        if not whole.guarded.startswith(unmarked):
            raise UserError(
                f"the chat template of {self.whose} writes another text where answers are marked: "
                "mend its {% generation %}."
            )
        answers = [i for i, each in enumerate(rendering.messages) if each["role"] == "assistant"]
        if wanted != answers:  # which of the marked texts are whose, conversation by conversation
            ends = [len(rendering.list_marked(number + 1, False)[0]) for number in wanted]
            starts = [len(rendering.list_marked(number, False)[0]) for number in wanted]
            spans = [span for a, b in zip(starts, ends, strict=True) for span in spans[a:b]]
        places = [place for span in spans for place in span]
        ids, counts = self._split_at(whole, places)
        return ids, list(zip(counts[::2], counts[1::2], strict=True))

    def _split_at(self, whole: SpecialText, places: list[int]) -> tuple[list[int], list[int]]:
        """The ids, of which none goes across a place in the text, and how many come before each.

        They are those of the whole text, but where a token would go across: there both sides are
        encoded apart, as they are when a model is to go on with the one and has the other to say.
        """
        ids, cuts = self.tokenizer.encode_special(whole), []
        for place in places:
            before = self.tokenizer.encode_special(whole.upto(place))
            if ids[: len(before)] != before:
                cuts.append(place)
        ids = self._encode_apart(whole, cuts)
        counts = [len(self._encode_apart(whole.upto(place), cuts)) for place in places]
        return ids, counts

    def _encode_apart(self, text: SpecialText, cuts: Sequence[int]) -> list[int]:
        """The ids of the pieces between those cuts that lie within the text."""
        places = [0, *(cut for cut in cuts if cut < len(text.guarded)), len(text.guarded)]
        ids: list[int] = []
        for start, end in pairwise(places):
            piece = text.between(start, end)
            new = self.tokenizer.encode_special(piece, inside=start > 0)
            if start and self.tokenizer.decode_bytes(new) != piece.plain():
                raise self._explain_place(text.upto(start).text)
            ids += new
        return ids

    def _find_spans(
        self, rendering: _Rendering, whole: SpecialText, wanted: list[int]
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids and the answers in them."""
        prompts = [rendering.write(number, True) for number in wanted]
        begun = [
            len(prompt.guarded) for prompt in prompts if whole.guarded.startswith(prompt.guarded)
        ]
        places = [place for place in begun if place < len(whole.guarded)]
        ids, counts = self._split_at(whole, places)
        known = dict(zip(places, counts, strict=True))
        starts = [
            known[len(prompt.guarded)]
            if len(prompt.guarded) in known and whole.guarded.startswith(prompt.guarded)
            else self._find_start(rendering, ids, number, prompt)
            for number, prompt in zip(wanted, prompts, strict=True)
        ]
        return ids, [
            (start, self._find_end(rendering, ids, number, start, limit))
            for number, start, limit in zip(wanted, starts, [*starts[1:], len(ids)], strict=True)
        ]

    def _find_start(
        self, rendering: _Rendering, ids: list[int], number: int, prompt: SpecialText
    ) -> int:
        """Where an answer begins whose prompt ends in what no answer of the past begins with, such
        as an open <think>: where the two part, if that is within what the prompt adds.
        """
        start = _count_equal(self.tokenizer.encode_special(prompt), ids)
        earlier = rendering.encode(number, False)
        if ids[: len(earlier)] != earlier or start <= len(earlier):
            raise self._explain_place(prompt.text)
        return start

    def _find_end(
        self, rendering: _Rendering, ids: list[int], number: int, start: int, limit: int
    ) -> int:
        """Where the answer of a message ends: after what ends its turn or, without that, where the
        conversation up to it does.
        """
        for place in range(start, limit):
            if ids[place] in self.tokenizer.ends:
                return place + 1
        upto = rendering.encode(number + 1, False)
        same = _count_equal(upto, ids)
        if same == len(upto) >= start:
            return same
        # Some close an answer by another token where something follows it.
        if same < start or upto[same] not in self.tokenizer.ends:
            raise self._explain_place(rendering.write(number + 1, False).text)
        if ids[same] not in self.tokenizer.special:
            raise self._explain_place(rendering.write(number + 1, False).text)
        return same + 1

    def _explain_place(self, before: str) -> UserError:
        return UserError(
            f"the chat template of {self.whose} does not let an answer be told from what is before "
            f"it, after {before[-60:]!r}: use a template that encloses answers in "
            "{% generation %}, or set `train` to false for that turn."
        )


class _Rendering:
    """One conversation, guarded once, of which beginnings are written."""

    def __init__(self, chat: ForeignChat, messages: Messages, tools: Tools) -> None:
        prepared = _prepare(messages)
        self.chat, self.template = chat, chat.choose(tools)
        guard, before, after = choose_private(
            3, [*_list_texts([prepared, list(tools or ())]), self.template.source]
        )
        self.guard, self.marks = guard, (before, after)
        self.messages = [self._protect(message, "") for message in prepared]
        self.tools = None if tools is None else [self._protect(tool, "") for tool in tools]

    def write(self, count: int, reply: bool) -> SpecialText:
        """The first `count` messages."""
        text = self.chat._fill(self.messages[:count], reply, self.tools, {})
        return SpecialText(text, self.guard, self.chat.spellings)

    def list_marked(self, count: int, reply: bool) -> tuple[list[tuple[int, int]], str]:
        """What {% generation %} encloses in the first `count` messages, as spans of the guarded
        text; and that text.
        """
        if not count:
            return [], ""
        before, after = self.marks
        text = self.chat._fill(self.messages[:count], reply, self.tools, {}, self.marks)
        pieces = re.split(f"([{before}{after}])", text)
        spans, length, start = [], 0, 0
        for piece in pieces:
            if piece == before:
                start = length
            elif piece == after:
                spans.append((start, length))
            else:
                length += len(piece)
        return spans, re.sub(f"[{before}{after}]", "", text)

    def encode(self, count: int, reply: bool) -> list[int]:
        return self.chat.tokenizer.encode_special(self.write(count, reply))

    def _protect(self, value: Any, key: str) -> Any:
        if isinstance(value, str):
            return self.chat.spellings.guard(value, self.guard, edges=key in _SAID)
        if isinstance(value, Mapping):
            return {
                self._protect(name, ""): self._protect(item, name) for name, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._protect(item, key) for item in value]
        return value


def _prepare(messages: Messages) -> list[dict[str, Any]]:
    """As `transformers` gives them to a template: without fields that are None, and what was
    thought under each of its names.
    """
    prepared: list[dict[str, Any]] = []
    for message in messages:
        role = message.get("role")
        if not isinstance(role, str) or not _ROLE.fullmatch(role):
            raise UserError(
                f"the role of a message is {role!r}: it is one word, such as user or assistant."
            )
        said = {
            name: value for name, value in message.items() if value is not None and name != "train"
        }
        thought = next((said[name] for name in _REASONING if name in said), None)
        if thought is not None:
            said = {"thinking": thought, **said, "reasoning_content": thought}
        prepared.append(said)
    return prepared


def _list_texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for pair in value.items() for part in pair for text in _list_texts(part)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _list_texts(item)]
    return []


def _count_equal(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two begin with alike."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
