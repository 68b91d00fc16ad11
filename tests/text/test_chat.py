"""The assistant's tokens and their end are chosen, nothing else, and the template says the same as
the function.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.errors import UserError
from fledge.text.chat import ROLES, Message, render
from fledge.text.tokenizer import SPECIAL, Tokenizer, train_tokenizer

TEXTS = ["Be brief. What is the capital of France? Paris is. 😀\n" * 4]
BPE = train_tokenizer("bpe", TEXTS, 300)
BYTES = train_tokenizer("bytes", [])

CONVERSATION: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "Paris."},
    {"role": "user", "content": "😀?"},
    {"role": "assistant", "content": ""},
]

conversations = st.lists(
    st.builds(
        lambda role, content: Message(role=role, content=content),
        st.sampled_from(ROLES),
        st.text(max_size=20) | st.sampled_from(SPECIAL),
    ),
    max_size=6,
)


def test_a_conversation_is_spelled_out_as_the_template_says() -> None:
    ids, _ = render(BYTES, CONVERSATION[1:3])
    expected = [
        1,
        4,
        *(b + 6 for b in b"What is the capital of France?"),
        2,
        5,
        *(b + 6 for b in b"Paris."),
        2,
    ]
    assert ids == expected


@pytest.mark.parametrize("tokenizer", [BYTES, BPE])
def test_chosen_are_the_assistant_s_tokens_and_their_ends(tokenizer: Tokenizer) -> None:
    ids, chosen = render(tokenizer, CONVERSATION)
    trained = [number for number, mine in zip(ids, chosen, strict=True) if mine]
    assert trained == [*tokenizer.encode("Paris."), tokenizer.end, tokenizer.end]
    assert tokenizer.decode(trained) == "Paris."


@settings(max_examples=150, deadline=None, derandomize=True)
@given(messages=conversations)
def test_texts_come_back_from_between_the_special_tokens_whatever_they_say(
    messages: list[Message],
) -> None:
    ids, chosen = render(BPE, messages)
    assert len(ids) == len(chosen)
    assert ids[0] == BPE.begin
    read: list[tuple[str, str]] = []
    rest = ids[1:]
    while rest:
        end = rest.index(BPE.end)
        read.append((ROLES[rest[0] - BPE.system], BPE.decode(rest[1:end])))
        rest = rest[end + 1 :]
    assert read == [(message["role"], message["content"]) for message in messages]
    trained = BPE.decode([number for number, mine in zip(ids, chosen, strict=True) if mine])
    assert trained == "".join(
        message["content"] for message in messages if message["role"] == "assistant"
    )
    assert sum(chosen) == sum(
        len(BPE.encode(m["content"])) + 1 for m in messages if m["role"] == "assistant"
    )


def test_a_prompt_waits_for_its_reply_and_the_reply_continues_it() -> None:
    prompt, chosen = render(BPE, CONVERSATION[:2], reply=True)
    whole, _ = render(BPE, CONVERSATION[:3])
    assert prompt[-1] == BPE.assistant
    assert not any(chosen)
    assert whole == prompt + BPE.encode("Paris.") + [BPE.end]


def test_an_unknown_role_is_a_user_error() -> None:
    with pytest.raises(UserError, match="'critic'"):
        render(BPE, [{"role": "critic", "content": "x"}])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("tokenizer", [BYTES, BPE])
@pytest.mark.parametrize("reply", [False, True])
def test_the_jinja_template_gives_the_same_ids(
    tokenizer: Tokenizer, reply: bool, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    spaces: list[Message] = [{"role": "user", "content": " \n two  spaces \n"}]
    for messages in (CONVERSATION, CONVERSATION[1:2], spaces):
        ids = theirs.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=reply, return_dict=False
        )
        assert ids == render(tokenizer, messages, reply=reply)[0]
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (1, 2, 0)
