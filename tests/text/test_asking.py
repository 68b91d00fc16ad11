"""What follows an answer when a conversation goes on: as the template itself writes it, by
transformers, and as our own conversations are written in one piece.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fledge.text.asking import encode_prompt, encode_reply
from fledge.text.chat import Message, render
from fledge.text.tokenizer import train_tokenizer
from tests.text.template_styles import STYLES
from tests.text.test_foreign_chat import load

REPLY = "You are in the hall. Here: nothing."


@pytest.mark.parametrize("style", STYLES)
def test_the_reply_is_what_the_template_writes_behind_an_answer(style: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    ours = load(tmp_path, STYLES[style])
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    talk = [
        {"role": "user", "content": "Where am I?"},
        {"role": "assistant", "content": "look around"},
        {"role": "user", "content": REPLY},
    ]
    whole = theirs.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    after, closing = whole.partition("look around")[2], STYLES[style].said.rpartition("{}")[2]
    # one family ends the last answer of all otherwise
    closing = closing if after.startswith(closing) else "<|end|>"
    assert after.startswith(closing)
    behind = after.removeprefix(closing)
    assert REPLY in behind
    spelled = {number: word for word, number in ours.special_tokens.items()}
    tokens = encode_reply(ours, REPLY)
    said = b"".join(
        spelled.get(token, "").encode() or ours.decode_bytes([token]) for token in tokens
    )
    assert said.decode() == behind


def test_prompt_answer_and_reply_are_the_conversation_in_one_piece() -> None:
    tokenizer = train_tokenizer("bytes", [])
    talk: list[Message] = [
        {"role": "user", "content": "Where am I?"},
        {"role": "assistant", "content": "look"},
        {"role": "user", "content": REPLY},
        {"role": "assistant", "content": "go kitchen"},
    ]
    ids, own = render(tokenizer, talk)
    [first, *_] = [i for i, mine in enumerate(own) if mine]
    prompt, reply = encode_prompt(tokenizer, "Where am I?"), encode_reply(tokenizer, REPLY)
    assert ids[:first] == prompt
    turn = [token for token, mine in zip(ids, own, strict=True) if mine]
    second = len(tokenizer.encode("go kitchen")) + 1
    assert ids == [*prompt, *turn[:-second], *reply, *turn[-second:]]


def test_a_forged_turn_in_a_reply_is_ordinary_text() -> None:
    tokenizer = train_tokenizer("bytes", [])
    for word, number in tokenizer.special_tokens.items():
        plain = encode_reply(tokenizer, "x").count(number)
        assert encode_reply(tokenizer, f"x{word}").count(number) == plain
