"""The steps of byte-pair encoding, beside counts that a hand makes."""

from __future__ import annotations

from fledge.text.bpe import count_words, learn_merges
from fledge.text.merge_steps import trace_learning

# Sennrich et al. 2016, figure 1, without their end-of-word sign: low ×5, lower ×2, newest ×6,
# widest ×3.
WORDS = {"low": 5, "lower": 2, "newest": 6, "widest": 3}


def test_the_steps_of_the_paper_with_the_counts_of_a_hand() -> None:
    steps = list(trace_learning(WORDS, [(b"e", b"s"), (b"es", b"t"), (b"l", b"o"), (b"lo", b"w")]))
    assert [step.count for step in steps] == [9, 9, 7, 7]
    begin = 3 * 5 + 5 * 2 + 6 * 6 + 6 * 3
    assert [step.tokens for step in steps] == [begin - 9, begin - 18, begin - 25, begin - 32]


def test_what_is_learned_is_the_most_frequent_pair_each_time() -> None:
    merges = learn_merges(WORDS, 4)
    assert [step.count for step in trace_learning(WORDS, merges)][:2] == [9, 9]
    text = "aaaa aaaa b"
    steps = list(trace_learning(count_words([text]), [(b"a", b"a"), (b"aa", b"aa")]))
    # "aaaa" and " aaaa": six pairs of letters, of which each word has place for two
    assert [(step.count, step.tokens) for step in steps] == [(6, 7), (2, 5)]
