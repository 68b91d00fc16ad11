"""A constraint says what `re.fullmatch` says, and never leads into a dead end; the expectations
come from `re` and from search.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import product

import numpy as np
import pytest
import torch
from fledge.engine.automaton import MAX_STATES
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fledge.engine.constraint import Constraint, choice, regex
from fledge.errors import UserError

BYTES = [bytes((byte,)) for byte in range(256)] + [b""]
STOP = 256

LETTERS = "abBé€😀"  # 1 to 4 bytes of UTF-8
# the borders of UTF-8's lengths among them
AROUND = "abBAcé¡ࠀ€-_1 \n\t\x1c\x7f\x80߿￿\U00010000😀\U0010ffff^]"


def pieces(*leaves: st.SearchStrategy[str], bounded: bool) -> st.SearchStrategy[str]:
    """Patterns built from the leaves; bounded: of a finite language."""
    counts = ["?", "{2}", "{0,2}", "{1,3}", "{0}"] + (
        [] if bounded else ["*", "+", "{2,}", "*?", "+?", "??"]
    )
    return st.recursive(
        st.one_of(*leaves),
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map("".join),
            st.lists(inner, min_size=1, max_size=3).map(
                lambda branches: "(?:" + "|".join(branches) + ")"
            ),
            st.tuples(inner, st.sampled_from(counts)).map(lambda pair: f"({pair[0]}){pair[1]}"),
        ),
        max_leaves=8,
    )


def classes(letters: str, negation: str) -> st.SearchStrategy[str]:
    ends = st.tuples(st.sampled_from(letters), st.sampled_from(letters)).map(
        lambda pair: "{}-{}".format(*sorted(pair))
    )
    members = st.lists(st.one_of(st.sampled_from(letters), ends), min_size=1, max_size=3).map(
        "".join
    )
    return st.tuples(st.sampled_from(negation.split(",")), members).map(
        lambda pair: f"[{pair[0]}{pair[1]}]"
    )


literals = st.sampled_from(LETTERS)
texts = st.text("ab", max_size=7) | st.text(LETTERS, max_size=7) | st.text(AROUND, max_size=7)
shorthands = st.sampled_from(
    [
        ".",
        r"\d",
        r"\D",
        r"\w",
        r"\W",
        r"\s",
        r"\S",
        r"[\da]",
        r"[^\w€]",
        r"[\S\n]",
        "(?s:.)",
        "(?i:b)",
    ]
)
any_pattern = pieces(literals, classes(LETTERS, ",^"), shorthands, st.just(""), bounded=False)
sets = st.lists(literals, min_size=1, max_size=3).map(lambda letters: f"[{''.join(letters)}]")
finite_pattern = pieces(literals, sets, bounded=True)
finite_pattern_with_others = pieces(literals, classes(LETTERS, ",^"), shorthands, bounded=True)


def walk(constraint: Constraint, said: bytes) -> int:
    state = constraint.start
    for byte in said:
        state = constraint.advance(state, byte)
    return state


def compiled(
    pattern: str, vocabulary: Sequence[bytes] = BYTES, stop: frozenset[int] = frozenset((STOP,))
) -> Constraint:
    """Patterns that match nothing at all are of no use here: their error has its own test."""
    try:
        return regex(pattern, vocabulary, stop)
    except UserError as error:
        assume("no text" not in str(error))
        raise


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["", "(?i)", "(?s)"]), any_pattern, st.lists(texts, max_size=20))
# a repetition that goes back to where the other branch begins
@example("", "(?:a*|b)", ["ab", "aab"])
def test_walking_the_bytes_agrees_with_fullmatch(flag: str, pattern: str, texts: list[str]) -> None:
    constraint = compiled(flag + pattern)
    meant = re.compile(flag + pattern, re.ASCII)
    for text in [*texts, "", *LETTERS]:
        assert constraint.accepts(walk(constraint, text.encode())) == bool(meant.fullmatch(text)), (
            text
        )


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["", "(?i)"]),
    classes(AROUND.replace("]", "").replace("^", "").replace("-", ""), ",^"),
)
def test_a_class_matches_the_characters_of_its_ranges(flag: str, pattern: str) -> None:
    constraint = compiled(flag + pattern)
    meant = re.compile(flag + pattern, re.ASCII)
    for character in {
        chr(near)
        for letter in AROUND
        for near in range(max(ord(letter) - 1, 0), ord(letter) + 2)
        if near < 0x110000
    }:
        assert constraint.accepts(walk(constraint, character.encode())) == bool(
            meant.fullmatch(character)
        ), character


@pytest.mark.parametrize(
    "pattern",
    [
        ".",
        r"[^a]",
        r"\W",
        "[ࠀ-\U00012345]",
        "[\x7f-\x80]",
        "[߿-ࠀ]",
        "[퟿-]",
        "[\U0000fffe-\U0010fffe]",
    ],
)
def test_every_code_point_is_matched_or_not_as_re_does(pattern: str) -> None:
    constraint = regex(pattern, BYTES, {STOP})
    meant = re.compile(pattern, re.ASCII)
    for code in [
        *range(0x900),
        *range(0xD700, 0xE100),
        *range(0xFF00, 0x10100),
        *range(0x1000, 0x110000, 379),
    ]:
        if not 0xD800 <= code <= 0xDFFF:
            assert constraint.accepts(walk(constraint, chr(code).encode())) == bool(
                meant.fullmatch(chr(code))
            ), hex(code)


def test_a_text_is_utf8_or_it_does_not_match() -> None:
    constraint = regex(r"(?s).*", BYTES, {STOP})
    for said in (
        b"\xc3",
        b"\x80",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe0\x80\x80",
        b"\xff",
    ):
        assert not constraint.accepts(walk(constraint, said))


@pytest.mark.parametrize(
    "pattern",
    ["^ab$", r"\Aab\Z", "(^ab$)", "^ab|ab$", "(?m)^ab$", "^^ab", "(?P<name>ab)", "(?x) a b # ab"],
)
def test_anchors_and_groups_that_change_nothing(pattern: str) -> None:
    constraint = regex(pattern, BYTES, {STOP})
    assert [
        constraint.accepts(walk(constraint, said)) for said in (b"ab", b"ab\n", b"a", b"aab")
    ] == [
        True,
        False,
        False,
        False,
    ]


# What is allowed, against search


def language(pattern: str, letters: str) -> list[bytes]:
    """All texts of these letters that match, by trying them; a pattern of longer texts than 5
    letters is passed over.
    """
    meant = re.compile(pattern, re.ASCII)
    longest = import_module("re._parser").parse(pattern).getwidth()[1]
    assume(longest <= 5)
    texts = (
        "".join(text) for length in range(longest + 1) for text in product(letters, repeat=length)
    )
    return [text.encode() for text in texts if meant.fullmatch(text)]


def can_be_completed(said: bytes, words: Sequence[bytes], tokens: Sequence[bytes]) -> bool:
    """Whether some sequence of tokens after `said` gives one of the words."""
    waiting, seen = [said], {said}
    while waiting:
        text = waiting.pop()
        if text in words:
            return True
        longer = {
            text + token for token in tokens if any(word.startswith(text + token) for word in words)
        } - seen
        seen |= longer
        waiting.extend(longer)
    return False


def expected(
    said: bytes, words: Sequence[bytes], vocabulary: Sequence[bytes], stop: int
) -> list[bool]:
    tokens = [token for number, token in enumerate(vocabulary) if token and number != stop]
    return [
        said in words
        if number == stop
        else bool(token) and can_be_completed(said + token, words, tokens)
        for number, token in enumerate(vocabulary)
    ]


def check_allowed(pattern: str, words: Sequence[bytes], vocabulary: list[bytes], stop: int) -> None:
    """At every text that the constraint lets tokens say."""
    if not can_be_completed(
        b"", words, [token for number, token in enumerate(vocabulary) if token and number != stop]
    ):
        with pytest.raises(UserError, match="no text"):
            regex(pattern, vocabulary, {stop})
        return
    constraint = regex(pattern, vocabulary, {stop})
    waiting, seen = [(b"", constraint.start)], {b""}
    while waiting and len(seen) < 40:
        said, state = waiting.pop()
        allowed = constraint.allowed(state)
        assert allowed.dtype == torch.bool
        assert allowed.tolist() == expected(said, words, vocabulary, stop), said
        for token, ok in enumerate(allowed.tolist()):
            after = constraint.advance(state, token)
            if token == stop:
                assert constraint.accepts(after) == ok
            elif not ok:
                assert not constraint.allowed(after).any()
            elif said + vocabulary[token] not in seen:
                seen.add(said + vocabulary[token])
                waiting.append((said + vocabulary[token], after))


@st.composite
def vocabularies(draw: st.DrawFn, letters: str, cut_characters: bool) -> tuple[list[bytes], int]:
    """Tokens of up to 4 characters, cut anywhere; one of them, which may have bytes as well, is the
    stop token.
    """
    tokens = []
    for text in draw(st.lists(st.text(letters, max_size=4), min_size=1, max_size=8)):
        said = text.encode()
        a, b = draw(st.integers(0, len(said))), draw(st.integers(0, len(said)))
        tokens.append(said[min(a, b) : max(a, b)] if cut_characters else said)
    if draw(st.booleans()):  # as a tokenizer has them, more or less
        tokens += [bytes((byte,)) for letter in letters for byte in letter.encode()]
    return tokens, draw(st.integers(0, len(tokens) - 1))


@settings(max_examples=250, deadline=None)
@given(finite_pattern, vocabularies("aé€", cut_characters=True))
def test_allowed_is_what_can_be_completed(pattern: str, given_: tuple[list[bytes], int]) -> None:
    # The pattern's other letters have no byte in common with these three, so that no tokens can say
    # them.
    words = language(pattern, "aé€")
    check_allowed(pattern, words, *given_)


@settings(max_examples=150, deadline=None)
@given(finite_pattern_with_others, vocabularies("aB€", cut_characters=False))
def test_allowed_is_what_can_be_completed_under_negation(
    pattern: str, given_: tuple[list[bytes], int]
) -> None:
    tokens, stop = given_
    tokens = [token for token in tokens if is_text(token)]
    assume(stop < len(tokens))
    words = language(pattern, "aB€")
    check_allowed(pattern, words, tokens, stop)


def is_text(said: bytes) -> bool:
    return said.decode("utf-8", errors="replace").encode() == said


def test_a_dead_end_at_token_level_is_not_walked_into() -> None:
    vocabulary = [b"a", b"b", b"bc", b"ad", b""]
    # no token says c alone: "ad" leads nowhere, and so would a first "ab"+c
    constraint = regex("ab|abc|adc", vocabulary, {4})
    assert constraint.allowed(constraint.start).tolist() == [True, False, False, False, False]
    after = constraint.advance(constraint.start, 0)
    assert constraint.allowed(after).tolist() == [False, True, True, False, False]
    assert constraint.advance(constraint.start, 3) == 0
    assert not constraint.allowed(0).any()


def random_walk(
    constraint: Constraint, vocabulary: Sequence[bytes], stop: int, rng: np.random.Generator
) -> Iterator[bytes]:
    state = constraint.start
    while True:
        allowed = constraint.allowed(state).numpy()
        token = int(rng.choice(np.flatnonzero(allowed)))  # raises where nothing is allowed
        if token == stop:
            return
        state = constraint.advance(state, token)
        yield vocabulary[token]


@settings(max_examples=150, deadline=None)
@given(
    finite_pattern_with_others,
    vocabularies(LETTERS, cut_characters=True),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_a_random_walk_ends_in_a_full_match(
    pattern: str, given_: tuple[list[bytes], int], whole: bool, seed: int
) -> None:
    tokens, stop = given_
    vocabulary = [*tokens, *BYTES] if whole else tokens
    constraint = compiled(pattern, vocabulary, frozenset((stop,)))
    for walk_ in range(5):
        said = b"".join(
            random_walk(constraint, vocabulary, stop, np.random.default_rng([seed, walk_]))
        )
        assert re.fullmatch(pattern, said.decode(), re.ASCII)


@given(st.lists(st.text(LETTERS, max_size=5), min_size=1, max_size=6), st.integers(0, 2**32))
def test_a_choice_says_one_of_its_options(options: list[str], seed: int) -> None:
    constraint = choice(options, BYTES, {STOP})
    said = b"".join(random_walk(constraint, BYTES, STOP, np.random.default_rng(seed))).decode()
    assert said in options
    for option in options:
        assert constraint.accepts(walk(constraint, option.encode()))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text("aé", max_size=4), min_size=1, max_size=4),
    vocabularies("aé", cut_characters=True),
)
def test_a_choice_allows_what_can_be_completed(
    options: list[str], given_: tuple[list[bytes], int]
) -> None:
    vocabulary, stop = given_
    words = [option.encode() for option in options]
    allowed = expected(b"", words, vocabulary, stop)
    assume(any(allowed))
    constraint = choice(options, vocabulary, {stop})
    assert constraint.allowed(constraint.start).tolist() == allowed


def fewest(words: Sequence[bytes], tokens: Sequence[bytes]) -> int:
    """How many tokens the shortest way to one of the words takes, by trying all of them."""
    said, count = {b""}, 0
    while not said & set(words):
        said = {
            text + token
            for text in said
            for token in tokens
            if any(w.startswith(text + token) for w in words)
        }
        count += 1
    return count


@settings(max_examples=200, deadline=None)
@given(finite_pattern, vocabularies("aé€", cut_characters=True))
def test_a_text_fits_where_so_many_tokens_can_say_it(
    pattern: str, given_: tuple[list[bytes], int]
) -> None:
    vocabulary, stop = given_
    words = language(pattern, "aé€")
    tokens = [token for number, token in enumerate(vocabulary) if token and number != stop]
    assume(can_be_completed(b"", words, tokens))
    constraint, least = compiled(pattern, vocabulary, frozenset((stop,))), fewest(words, tokens)
    assert [constraint.fits(n) for n in range(least + 3)] == [False] * least + [True] * 3


def test_long_tokens_are_counted_where_bytes_would_not_fit() -> None:
    constraint = regex("(abc){4}d?", [*BYTES, b"abcabc", b"abc"], {STOP})
    assert [constraint.fits(n) for n in range(4)] == [False, False, True, True]
    assert not regex("(abc){4}d?", BYTES, {STOP}).fits(11)


def test_without_stop_tokens_a_complete_text_allows_nothing_more() -> None:
    constraint = regex("ab?", BYTES, ())
    state = walk(constraint, b"ab")
    assert constraint.accepts(state)
    assert not constraint.allowed(state).any()


def test_special_tokens_are_never_allowed() -> None:
    constraint = regex("a*", [b"", b"a", b"", b""], {2})
    assert constraint.allowed(constraint.start).tolist() == [False, True, True, False]
    assert constraint.advance(constraint.start, 0) == 0


def test_two_rows_may_share_a_constraint() -> None:
    constraint = regex("ab|ba", BYTES, {STOP})
    one, other = walk(constraint, b"a"), walk(constraint, b"b")
    assert (
        constraint.allowed(one).nonzero().tolist(),
        constraint.allowed(other).nonzero().tolist(),
    ) == (
        [[98]],
        [[97]],
    )


# Errors


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a(b", "'a.b' does not parse: .* at position 1"),
        ("ab[z-a]", "does not parse: bad character range z-a at position 3"),
        ("*", "does not parse: nothing to repeat at position 0"),
        ("a{99999999999}", "does not parse"),
        ("(?u)a", "does not parse"),
        ("a(?u:b)", "the flag"),
        (r"(a)\1", "backreference"),
        (r"(?P<x>a)(?P=x)", "backreference"),
        ("(?=a)a", "look-around"),
        ("(?<!a)b", "look-around"),
        ("(?!)", "look-around"),
        ("a^b", "anchor inside"),
        ("a$b", "anchor inside"),
        ("(?:^a)*", "anchor inside"),
        (r"\bab", "anchor inside"),
        ("(a)?(?(1)b|c)", "conditional group"),
        ("(?>a)", "atomic group"),
        ("a++b", "possessive"),
        ("[^\\x00-\U0010ffff]", "no text"),
        ("\ud800", "no text"),
        (".{0,9999}", f"limit of {MAX_STATES:,} states"),
        ("(.{0,300}){0,300}", "too large"),
        ("((a{0,99}){0,99}){0,99}", "too large"),
        ("(?:){999999999}", "too large"),
        ("(a|b)*a(a|b){14}", "too large"),
        ("(a?){5000}", "too large"),
        ("(" * 3000 + "a" + ")" * 3000, "too deeply"),
    ],
)
def test_a_pattern_that_cannot_be_followed_is_refused(pattern: str, message: str) -> None:
    begin = time.process_time()
    with pytest.raises(UserError, match=message) as caught:
        regex(pattern, BYTES, {STOP})
    assert len(str(caught.value)) < 400
    # a request must not stop the engine; 4 s at the most on the machine it was written on
    assert time.process_time() - begin < 30


def test_what_the_vocabulary_cannot_say_is_refused() -> None:
    for use in (
        lambda: regex("ab", [b"a", b"", b"cb"], {1}),
        lambda: choice(["ab", "b"], [b"a", b"", b"cb"], {1}),
    ):
        with pytest.raises(UserError, match="vocabulary of 3 tokens"):
            use()
    # the bytes of a stop token are not said
    with pytest.raises(UserError, match="vocabulary of 2 tokens"):
        regex("ab", [b"a", b"b"], {1})


def test_what_is_empty_or_outside_is_refused() -> None:
    with pytest.raises(UserError, match="empty list of choices"):
        choice([], BYTES, {STOP})
    with pytest.raises(UserError, match="empty vocabulary"):
        regex("a", [], ())
    with pytest.raises(UserError, match="stop token 300"):
        regex("a", BYTES, {300})
    with pytest.raises(UserError, match="surrogate"):
        choice(["\ud800"], BYTES, {STOP})
    with pytest.raises(UserError, match="more than 20,000 states"):
        choice([f"{number:08d}"[::-1] for number in range(20_000)], BYTES, {STOP})
