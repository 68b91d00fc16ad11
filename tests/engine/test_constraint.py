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
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fledge.engine.constraint import Constraint, Matcher
from fledge.engine.structures import choice, grammar, regex
from fledge.engine.vocabulary import Vocabulary
from fledge.errors import UserError

BYTES = [bytes((byte,)) for byte in range(256)] + [b""]
BYTEWISE = Vocabulary(BYTES)
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


def walk(constraint: Constraint, said: bytes) -> Matcher:
    matcher = constraint.start()
    for byte in said:
        matcher.take(byte)
    return matcher


def after(matcher: Matcher, token: int) -> Matcher:
    twin = matcher.copy()
    twin.take(token)
    return twin


def compiled(
    pattern: str, vocabulary: Vocabulary = BYTEWISE, stop: frozenset[int] = frozenset((STOP,))
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
        assert walk(constraint, text.encode()).accepts() == bool(meant.fullmatch(text)), text


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
        assert walk(constraint, character.encode()).accepts() == bool(meant.fullmatch(character)), (
            character
        )


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
    constraint = regex(pattern, BYTEWISE, {STOP})
    meant = re.compile(pattern, re.ASCII)
    for code in [
        *range(0x900),
        *range(0xD700, 0xE100),
        *range(0xFF00, 0x10100),
        *range(0x1000, 0x110000, 379),
    ]:
        if not 0xD800 <= code <= 0xDFFF:
            said = walk(constraint, chr(code).encode())
            assert said.accepts() == bool(meant.fullmatch(chr(code))), hex(code)


def test_a_text_is_utf8_or_it_does_not_match() -> None:
    constraint = regex(r"(?s).*", BYTEWISE, {STOP})
    for said in (
        b"\xc3",
        b"\x80",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe0\x80\x80",
        b"\xff",
    ):
        assert not walk(constraint, said).accepts()


@pytest.mark.parametrize(
    "pattern",
    ["^ab$", r"\Aab\Z", "(^ab$)", "^ab|ab$", "(?m)^ab$", "^^ab", "(?P<name>ab)", "(?x) a b # ab"],
)
def test_anchors_and_groups_that_change_nothing(pattern: str) -> None:
    constraint = regex(pattern, BYTEWISE, {STOP})
    assert [walk(constraint, said).accepts() for said in (b"ab", b"ab\n", b"a", b"aab")] == [
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


def is_closed(vocabulary: Sequence[bytes], stop: int) -> bool:
    """Whether whatever tokens say can also be said byte by byte, or character by character."""
    said = {token for number, token in enumerate(vocabulary) if token and number != stop}
    if all(bytes((byte,)) in said for token in said for byte in token):
        return True
    return all(is_text(token) and {c.encode() for c in token.decode()} <= said for token in said)


def check_allowed(pattern: str, words: Sequence[bytes], vocabulary: list[bytes], stop: int) -> None:
    """At every text that the constraint lets tokens say. In a vocabulary that is not closed more
    may be allowed than can be completed, and never less.
    """
    closed = is_closed(vocabulary, stop)
    tokens = [token for number, token in enumerate(vocabulary) if token and number != stop]
    if not can_be_completed(b"", words, tokens):
        if closed:
            with pytest.raises(UserError, match="no text"):
                regex(pattern, Vocabulary(vocabulary), {stop})
        return
    waiting, seen = [(b"", regex(pattern, Vocabulary(vocabulary), {stop}).start())], {b""}
    while waiting and len(seen) < 40:
        said, matcher = waiting.pop()
        allowed = matcher.allowed()
        assert allowed.dtype == torch.bool
        exact = torch.tensor(expected(said, words, vocabulary, stop))
        assert (allowed == exact).all() if closed else (allowed | ~exact).all(), said
        assert allowed[stop] == exact[stop]
        assert matcher.accepts() == exact[stop]
        for token, ok in enumerate(allowed.tolist()):
            then = after(matcher, token)
            if token == stop:
                assert then.accepts() == ok
            elif not ok:
                assert not then.allowed().any()
            elif said + vocabulary[token] not in seen:
                seen.add(said + vocabulary[token])
                waiting.append((said + vocabulary[token], then))


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


def test_a_vocabulary_of_characters_leads_into_no_dead_end() -> None:
    """No token has a c, so that neither abc nor adc is begun for its own sake."""
    vocabulary = Vocabulary([b"a", b"b", b"d", b"ad", b""])
    first = regex("ab|abc|adc", vocabulary, {4}).start()
    assert first.allowed().tolist() == [True, False, False, False, False]
    assert after(first, 0).allowed().tolist() == [False, True, False, False, False]
    assert after(after(first, 0), 1).allowed().tolist() == [False, False, False, False, True]


def test_tokens_that_cannot_be_taken_apart_may_lead_into_a_dead_end_where_nothing_is_allowed() -> (
    None
):
    vocabulary = Vocabulary([b"a", b"b", b"bc", b"ad", b""])
    first = regex("ab|abc|adc", vocabulary, {4}).start()
    assert first.allowed().tolist() == [True, False, False, True, False]
    dead = after(first, 3)
    assert not dead.allowed().any()
    assert not dead.accepts()
    assert dead.failed is None


def random_walk(
    constraint: Constraint, vocabulary: Sequence[bytes], stop: int, rng: np.random.Generator
) -> Iterator[bytes]:
    matcher = constraint.start()
    while True:
        token = int(rng.choice(matcher.allowed().numpy().nonzero()[0]))  # raises for nothing
        if token == stop:
            return
        matcher.take(token)
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
    assume(is_closed(vocabulary, stop))
    constraint = compiled(pattern, Vocabulary(vocabulary), frozenset((stop,)))
    for walk_ in range(5):
        said = b"".join(
            random_walk(constraint, vocabulary, stop, np.random.default_rng([seed, walk_]))
        )
        assert re.fullmatch(pattern, said.decode(), re.ASCII)


@given(st.lists(st.text(LETTERS, max_size=5), min_size=1, max_size=6), st.integers(0, 2**32))
def test_a_choice_says_one_of_its_options(options: list[str], seed: int) -> None:
    constraint = choice(options, BYTEWISE, {STOP})
    said = b"".join(random_walk(constraint, BYTES, STOP, np.random.default_rng(seed))).decode()
    assert said in options
    for option in options:
        assert walk(constraint, option.encode()).accepts()


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
    first = torch.tensor(allowed)
    given_first = choice(options, Vocabulary(vocabulary), {stop}).start().allowed()
    if is_closed(vocabulary, stop):
        assert given_first.tolist() == allowed
    assert (given_first | ~first).all()


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
def test_no_text_takes_fewer_tokens_than_is_said(
    pattern: str, given_: tuple[list[bytes], int]
) -> None:
    vocabulary, stop = given_
    words = language(pattern, "aé€")
    tokens = [token for number, token in enumerate(vocabulary) if token and number != stop]
    assume(can_be_completed(b"", words, tokens))
    constraint = compiled(pattern, Vocabulary(vocabulary), frozenset((stop,)))
    assert constraint.least <= fewest(words, tokens)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text("aé", max_size=4), min_size=1, max_size=4),
    vocabularies("aé", cut_characters=True),
)
def test_of_choices_it_is_said_exactly(options: list[str], given_: tuple[list[bytes], int]) -> None:
    vocabulary, stop = given_
    words = [option.encode() for option in options]
    tokens = [token for number, token in enumerate(vocabulary) if token and number != stop]
    assume(can_be_completed(b"", words, tokens))
    assert choice(options, Vocabulary(vocabulary), {stop}).least == fewest(words, tokens)


def test_of_what_must_come_the_tokens_are_counted() -> None:
    longer = Vocabulary([*BYTES, b"abcabc", b"abc", b"cd"])
    assert regex("(abc){4}d?", longer, {STOP}).least == 2
    assert regex("(abc){4}d?", BYTEWISE, {STOP}).least == 12
    assert regex("(abc){2}x", BYTEWISE, {STOP}).least == 7
    assert regex("a*", BYTEWISE, {STOP}).least == 0
    assert regex("a+|b", BYTEWISE, {STOP}).least == 1


def test_without_stop_tokens_a_complete_text_allows_nothing_more() -> None:
    said = walk(regex("ab?", BYTEWISE, ()), b"ab")
    assert said.accepts()
    assert not said.allowed().any()


def test_special_tokens_are_never_allowed() -> None:
    first = regex("a*", Vocabulary([b"", b"a", b"", b""], {0: "<x>"}), {2}).start()
    assert first.allowed().tolist() == [False, True, True, False]
    assert not after(first, 0).allowed().any()


def test_a_limit_that_is_met_on_the_way_is_told_apart_from_a_token_that_was_not_allowed() -> None:
    """8,000 optional words are compiled, and too much to follow."""
    rules = "start: " + " ".join(f'"a{i}"?' for i in range(8000))
    first = grammar(rules, BYTEWISE, {STOP}).start()
    first.take(ord("a"))
    assert not first.allowed().any()
    assert not first.accepts()
    assert "the grammar cannot be followed any further (" in str(first.failed)
    strayed = after(regex("ab", BYTEWISE, {STOP}).start(), ord("x"))
    assert strayed.failed is None
    assert not strayed.allowed().any()


def test_two_rows_may_share_a_constraint() -> None:
    constraint = regex("ab|ba", BYTEWISE, {STOP})
    one, other = walk(constraint, b"a"), walk(constraint, b"b")
    assert one.allowed().nonzero().tolist() == [[98]]
    assert other.allowed().nonzero().tolist() == [[97]]


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
        ("(" * 3000 + "a" + ")" * 3000, "too deeply"),
        ("(" * 300 + "a" + ")" * 300, "too deeply"),
        ("a|b" * 60_000, "too large"),
    ],
)
def test_a_pattern_that_cannot_be_followed_is_refused(pattern: str, message: str) -> None:
    begin = time.process_time()
    with pytest.raises(UserError, match=message) as caught:
        regex(pattern, BYTEWISE, {STOP})
    assert len(str(caught.value)) < 400
    # a request must not stop the engine; 4 s at the most on the machine it was written on
    assert time.process_time() - begin < 30


def test_what_the_vocabulary_cannot_say_is_refused() -> None:
    for use in (
        lambda: regex("bab", Vocabulary([b"a", b"", b"cb"]), {1}),
        lambda: choice(["ab", "b"], Vocabulary([b"a", b"", b"cb"]), {1}),
    ):
        with pytest.raises(UserError, match="vocabulary of 3 tokens"):
            use()
    # the bytes of a stop token are not said
    with pytest.raises(UserError, match="vocabulary of 2 tokens"):
        regex("ab", Vocabulary([b"a", b"b"]), {1})


def test_what_is_empty_or_outside_is_refused() -> None:
    with pytest.raises(UserError, match="empty list of choices"):
        choice([], BYTEWISE, {STOP})
    with pytest.raises(UserError, match="empty vocabulary"):
        Vocabulary([])
    with pytest.raises(UserError, match="stop token 300"):
        regex("a", BYTEWISE, {300})
    with pytest.raises(UserError, match="surrogate"):
        choice(["\ud800"], BYTEWISE, {STOP})
    with pytest.raises(UserError, match="too large: written as a grammar"):
        choice([f"{number:08d}"[::-1] for number in range(40_000)], BYTEWISE, {STOP})


@pytest.mark.parametrize(
    "pattern",
    [
        ".{0,9999}", "(.{0,300}){0,300}", "((a{0,99}){0,99}){0,99}", "(?:){999999999}",
        "(a|b)*a(a|b){14}", "(a?){5000}", "(a*)*b?",
    ],
)  # fmt: skip
def test_a_pattern_of_many_states_costs_what_is_walked(pattern: str) -> None:
    """Of some an automaton that is made whole would take minutes, and gigabytes."""
    begin = time.process_time()
    constraint, rng = regex(pattern, BYTEWISE, {STOP}), np.random.default_rng(0)
    said = b""
    for part, _ in zip(random_walk(constraint, BYTES, STOP, rng), range(60), strict=False):
        said += part
    assert time.process_time() - begin < 10  # half a second on the machine it was written on
