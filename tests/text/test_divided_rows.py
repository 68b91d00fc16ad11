"""Held out means held out: by prompt, once each, with rows of every kind on each side, or not at
all and said so.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fledge.text.chat import render
from fledge.text.held_out import divide_rows, key_of_opening
from fledge.text.tokenizer import train_tokenizer

TOKENIZER = train_tokenizer("bytes", [])


def row(prompt: str, answer: str) -> list[int]:
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return render(TOKENIZER, turns)[0]  # pyright: ignore[reportArgumentType]


def test_the_opening_is_the_prompt_however_the_conversation_goes_on() -> None:
    later = [{"role": "user", "content": "And then?"}, {"role": "assistant", "content": "x"}]
    turns = [
        {"role": "user", "content": " What Now"},
        {"role": "assistant", "content": "a"},
        *later,
    ]
    long = render(TOKENIZER, turns)[0]  # pyright: ignore[reportArgumentType]
    assert (
        key_of_opening(TOKENIZER, long)
        == key_of_opening(TOKENIZER, row("what now", "b"))
        == "what now"
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 59), st.integers(0, 2), st.booleans()), min_size=1, max_size=120
    )
)
def test_no_prompt_stands_on_two_sides_and_no_row_is_lost(
    drawn: list[tuple[int, int, bool]],
) -> None:
    rows = [
        (row(f"question {prompt}", f"answer {answer}"), wanted) for prompt, answer, wanted in drawn
    ]
    divided = divide_rows(rows, lambda r: (r[0], (r[1],)), TOKENIZER, kind=lambda r: r[1])
    parts = [divided.train, divided.validation, divided.test]
    if divided.note:
        assert (divided.train, divided.validation, divided.test) == (rows, [], [])
        return
    prompts = [{key_of_opening(TOKENIZER, ids) for ids, _ in part} for part in parts]
    assert sum(map(len, prompts)) == len(set.union(*prompts))
    assert set.union(*prompts) == {f"question {prompt}" for prompt, _, _ in drawn}
    kinds = {wanted for _, wanted in rows}
    assert all({wanted for _, wanted in part} == kinds for part in parts)
    for part in parts[1:]:
        assert len({(tuple(ids), wanted) for ids, wanted in part}) == len(part)
    different = {(tuple(ids), wanted) for ids, wanted in rows}
    assert {(tuple(ids), wanted) for part in parts for ids, wanted in part} == different
