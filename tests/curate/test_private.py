"""Personal data and secrets written by hand: what is one is replaced, what only looks so stays."""

from __future__ import annotations

import pytest

from fledge.curate.private import hide_private

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
    ],
)
def test_hidden(text: str, hidden: str) -> None:
    left, counts = hide_private(text)
    assert left == hidden
    assert sum(counts.values()) == sum(hidden.count(f"<{kind}>") for kind in counts)
