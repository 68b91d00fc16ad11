"""Personal data and secrets written by hand: what is one is replaced, what only looks so stays."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from fledge.curate.private import _SEARCHES, _hide_forms, hide_private

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("write to jan.smith+a@mail.example.org.", "write to <email>."),
        ("user@host and @someone stay", "user@host and @someone stay"),
        ("card 4111 1111 1111 1111, or 5500-0000-0000-0004", "card <card>, or <card>"),
        ("card 3782 822463 10005, order 3782 822463 10006", "card <card>, order 3782 822463 10006"),
        ("order 4111 1111 1111 1112 stays", "order 4111 1111 1111 1112 stays"),
        ("pay to DE89 3704 0044 0532 0130 00 now", "pay to <IBAN> now"),
        ("part DE89 3704 0044 0532 0130 01 stays", "part DE89 3704 0044 0532 0130 01 stays"),
        ("from 8.8.8.8 to 192.168.0.1", "from <address> to 192.168.0.1"),
        ("version 1.2.3.4.5 and 999.1.1.1", "version 1.2.3.4.5 and 999.1.1.1"),
        ("call +49 30 1234 5678 or (415) 555-2671", "call <phone> or <phone>"),
        ("in 1914-1918, 10.5 of 3.14159265", "in 1914-1918, 10.5 of 3.14159265"),
        (f"key:\n{KEY}\nend", "key:\n<private key>\nend"),
        ("AKIAIOSFODNN7EXAMPLE ghp_" + "a" * 36, "<token> <token>"),
        ("the AKIA of sk-1", "the AKIA of sk-1"),
        ("8.8.8.8", "<address>"),  # no two digits stand side by side
        ("a415-555-2671 and 415-555-2671b stay", "a415-555-2671 and 415-555-2671b stay"),
        ("猫415-555-2671猫 stays, 4111111111111111猫", "猫415-555-2671猫 stays, <card>猫"),
    ],
)
def test_hidden(text: str, hidden: str) -> None:
    left, counts = hide_private(text)
    assert left == hidden
    assert sum(counts.values()) == sum(hidden.count(f"<{kind}>") for kind in counts)


PIECES = [
    "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "8.8.8.8", "1.2.3.4.5", "+49 30 1234 56",
    "(415) 555-2671", "415-555-2671", "a@b.org", "@", "AKIAIOSFODNN7EXAMPLE", "sk-" + "b" * 22, KEY,
    "desk-", "x", "A", "é", "ж", "猫", "٣٤", "9", "12", "1805", " ", "\n", ".", "-", "+", "(", ")",
    "_", "<", " the ", "“",
]  # fmt: skip


def test_around_the_marks_as_much_is_hidden_as_in_the_whole_text() -> None:
    lot, times = random.Random(0), Counter[str]()
    for _ in range(1500):
        text = "".join(lot.choices(PIECES, k=lot.randint(1, 12)))
        whole, counts = text, Counter[str]()
        for search in _SEARCHES:
            whole = _hide_forms(whole, search.forms, counts)
        assert hide_private(text) == (whole, counts), text
        times += counts
    assert min(times[form.kind] for search in _SEARCHES for form in search.forms) > 30, times
