"""A tokenizer that came with somebody else's model: any tokenizer.json, on the `tokenizers`
library.

The bytes of its tokens add up to the text's wherever the tokenizer loses nothing. They do not where
it normalises (lower case, NFKC, accents), where it has no token for a character, and where added
tokens swallow the spaces beside them; a space that it puts before every text is not counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from fledge.disk import sync
from fledge.errors import UserError
from fledge.rows.tools import Known, Tools
from fledge.text.disguise import (
    NONCHARACTERS,
    build_encoder,
    list_vocabulary,
    model_type,
    private_name,
)
from fledge.text.foreign_chat import ForeignChat
from fledge.text.foreign_files import MEND, ForeignFiles
from fledge.text.interface import Tokenizer, check_utf8
from fledge.text.special_text import SpecialText
from fledge.text.token_bytes import has_decoder, read_token_bytes

MOST_TOKENS = 1 << 24  # the largest vocabularies have 2¹⁸
_ENCODERS = 2  # kept at a time: one is all that ordinary text needs


class ForeignTokenizer(Tokenizer):
    """Ids as the library gives them for the same file, but for special tokens, which text cannot
    spell.
    """

    def __init__(self, files: ForeignFiles) -> None:
        """Raises UserError for a tokenizer.json that is none."""
        self.files = files
        try:
            self._read(files)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            said = " ".join(str(error).split())
            raise UserError(
                f"{files.folder / 'tokenizer.json'} is not a tokenizer that the tokenizers library "
                f"{tokenizers.__version__} reads ({said}): {MEND}, or use a newer library."
            ) from None

    def _read(self, files: ForeignFiles) -> None:
        file = files.tokenizer
        self.kind = model_type(file["model"])
        words = list_vocabulary(file["model"])
        added = file.get("added_tokens") or []
        ids = words | {token["content"]: token["id"] for token in added}
        self._ids = np.array(sorted(set(ids.values())), dtype=np.int64)
        if self._ids[-1] >= MOST_TOKENS:
            raise ValueError(f"it has the id {self._ids[-1]}")
        named = [*files.named.values(), *files.additional, *_list_unknown(file["model"])]
        spelled = [token["content"] for token in added if token.get("special")]
        self.special_tokens = {word: ids[word] for word in [*spelled, *named] if word in ids}
        self.special = frozenset(self.special_tokens.values())
        self._names = lru_cache(_ENCODERS)(self._name_all)
        self._encoder = lru_cache(_ENCODERS)(
            lambda private: build_encoder(file, self.special_tokens, private)
        )
        self._encoder(NONCHARACTERS[0])
        # One that takes no spaces beside it, to stand before what is not the beginning of a text.
        self._before = next(
            (
                token["content"] for token in added
                if token.get("special")
                and not any(token.get(flag) for flag in ("lstrip", "rstrip", "single_word"))
            ), None,
        )  # fmt: skip
        self._read_places(files, ids)
        spell = read_token_bytes(file)
        self._words = [b""] * (int(self._ids[-1]) + 1)
        for word, number in words.items():
            self._words[number] = spell(word)
        for token in added:
            self._words[token["id"]] = token["content"].encode("utf-8")
        for number in self.special:
            self._words[number] = b""
        self._leads = any(map(self._leads_with_space, "a1."))

    def _leads_with_space(self, text: str) -> bool:
        try:
            return self.decode_bytes(self.encode(text)).startswith(b" ")
        except UserError:  # a vocabulary without this character, nor a token for what it has not
            return False

    def _read_places(self, files: ForeignFiles, ids: Mapping[str, int]) -> None:
        """What opens, closes and fills."""
        known = set(ids.values())
        self._named = {name: ids[word] for name, word in files.named.items() if word in ids}
        self.prefix, after = _read_frame(files.tokenizer.get("post_processor"), ids)
        stops = [self._named.get("eos_token"), *files.ends]
        stops = [number for number in stops if number in known] or list(after[:1])
        self._end = stops[0] if stops else None
        self._stops = frozenset(stops)
        opens = self.prefix[:1] and self.prefix[0] not in self._stops
        self._begin = self.prefix[0] if opens else None
        pad = self._named.get("pad_token", files.pad)
        self._pad = pad if pad in known else None

    def _name_all(self, private: str) -> dict[str, str]:
        return {word: private_name(private, n) for word, n in self.special_tokens.items()}

    @property
    def begin(self) -> int | None:
        return self._begin

    @property
    def end(self) -> int | None:
        return self._end

    @property
    def pad(self) -> int | None:
        return self._pad

    @property
    def ends(self) -> frozenset[int]:
        return self._all_ends

    @cached_property
    def _all_ends(self) -> frozenset[int]:
        turn_end = self.chat.find_turn_end(self._stops)
        return self._stops if turn_end is None else self._stops | {turn_end}

    @property
    def vocabulary(self) -> list[bytes]:
        return self._words

    @property
    def sayable(self) -> np.ndarray:
        """Every id that is a token: as the model was trained, so it is sampled."""
        allowed = np.zeros(self.vocab_size, dtype=bool)
        allowed[self._ids] = True
        return allowed

    def fits(self, rows: int) -> bool:
        """Tokens beyond the rows are legal if text cannot come to them: some models of text have
        the tokenizer of one that also sees, with its tokens for pictures (Gemma 3).
        """
        beyond = self._ids[self._ids >= rows]
        return self.special.issuperset(beyond.tolist())

    def encode(self, text: str) -> list[int]:
        check_utf8(text)
        return self._encode_batch([text])[0].ids

    def encode_many(self, texts: Iterable[str]) -> list[np.ndarray]:
        listed = list(texts)
        for text in listed:
            check_utf8(text)
        return [np.array(each.ids, dtype=np.int64) for each in self._encode_batch(listed)]

    def _encode_batch(self, texts: list[str]) -> list[tokenizers.Encoding]:
        encoder = self._encoder(_choose_private(texts))
        try:
            return encoder.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as error:  # the library raises nothing more special
            raise UserError(
                f"the tokenizer of {self.files.folder} has no ids for a text ({error}): take out "
                "what it does not know."
            ) from None

    def cut(self, chunks: Iterable[str]) -> Iterator[str]:
        """The whole text: what may be cut where depends on all parts of the file."""
        yield "".join(chunks)

    def encode_special(self, text: SpecialText, *, inside: bool = False) -> list[int]:
        """The ids of a text in which some special tokens are meant. inside: it goes on after
        others, so it is not the beginning of a text, before which some tokenizers put a space.
        """
        check_utf8(text.text)
        private = _choose_private([text.text])
        names = self._names(private)
        named = text.name_tokens(names)
        encoder = self._encoder(private)
        if not inside or self._before is None:
            return encoder.encode(named, add_special_tokens=False).ids
        before = names[self._before]
        return encoder.encode(before + named, add_special_tokens=False).ids[1:]

    def decode(self, ids: Iterable[int]) -> str:
        """Without the space that some tokenizers put before every text."""
        numbers = list(ids)
        if has_decoder(self.files.tokenizer, "WordPiece"):  # it also joins punctuation to words
            self._check(numbers)
            kept = [int(number) for number in numbers if int(number) not in self.special]
            return self._encoder(NONCHARACTERS[0]).decode(kept, skip_special_tokens=False)
        text = super().decode(numbers)
        return text.removeprefix(" ") if self._leads else text

    def bytes_per_token(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Where the tokenizer puts a space before every text, those of a row's first token and of
        one after the opening of a document do not count it.
        """
        lengths = super().bytes_per_token(ids)
        if not self._leads or not lengths.size:
            return lengths
        numbers = np.asarray(ids, dtype=np.int64)
        first = np.zeros(numbers.shape, dtype=bool)
        first[..., 0] = True
        before = self.prefix[-1] if self.prefix else self.end
        if before is not None:
            first[..., 1:] |= numbers[..., :-1] == before
        return lengths - (first & self._spaced[numbers])

    @cached_property
    def _spaced(self) -> np.ndarray:
        return np.array([word.startswith(b" ") for word in self._words], dtype=bool)

    @cached_property
    def chat(self) -> ForeignChat:
        """The chat template; what is wrong with it is said when it is used."""
        words = {**self.files.named, "additional_special_tokens": list(self.files.additional)}
        return ForeignChat(self, str(self.files.folder), self.files.templates, words)

    def knows(self, tools: Tools) -> Known:
        return self.chat.choose(tools).known

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        reply: bool = False,
        tools: Tools = None,
    ) -> tuple[list[int], list[bool]]:
        return self.chat.render(messages, reply=reply, tools=tools)

    def find_reply(self, ids: Sequence[int]) -> int:
        return self.chat.find_reply(ids)

    def config_ids(self) -> dict[str, Any]:
        ends = sorted(self.ends, key=lambda number: (number != self.end, number))
        begin = self._named.get("bos_token", self.begin)
        said = {
            "bos_token_id": begin,
            "eos_token_id": ends[0] if len(ends) == 1 else ends,
            "pad_token_id": self.pad,
        }
        return {name: value for name, value in said.items() if value not in (None, [])}

    def save(self, folder: str | Path) -> None:
        """The files as they were read."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.kept.items():
            (folder / name).write_bytes(content)
            sync(folder / name)
        sync(folder)

    def fingerprint(self) -> str:
        return hashlib.sha256(self.files.kept["tokenizer.json"]).hexdigest()


def _choose_private(texts: Sequence[str]) -> str:
    """A noncharacter that none of the texts contains."""
    for private in NONCHARACTERS:
        if not any(private in text for text in texts):
            return private
    raise UserError(
        "the texts hold every noncharacter that Unicode has beyond U+FFFF (U+1FFFE to U+10FFFF), "
        "of which one must stay free: take one out."
    )


def _list_unknown(model: Mapping[str, Any]) -> list[str]:
    """The word for what the model does not know, if it has one."""
    if isinstance(model.get("unk_token"), str):
        return [model["unk_token"]]
    if isinstance(model.get("unk_id"), int):
        return [model["vocab"][model["unk_id"]][0]]
    return []


def _read_frame(
    processor: Mapping[str, Any] | None, ids: Mapping[str, int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What a post-processor puts before a text and after it."""
    if processor is None:
        return (), ()
    kind = processor["type"]
    if kind == "Sequence":
        before, after = (), ()
        for step in processor["processors"]:
            outer_before, outer_after = _read_frame(step, ids)
            before, after = outer_before + before, after + outer_after
        return before, after
    if kind in ("BertProcessing", "RobertaProcessing"):
        return (processor["cls"][1],), (processor["sep"][1],)
    if kind != "TemplateProcessing":
        return (), ()
    before, after, seen = [], [], False
    for piece in processor["single"]:
        if "Sequence" in piece:
            seen = True
            continue
        word = piece["SpecialToken"]["id"]
        known = processor.get("special_tokens", {}).get(word)
        (after if seen else before).extend(known["ids"] if known else [ids[word]])
    return tuple(before), tuple(after)
