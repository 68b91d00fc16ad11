"""Personal data and secrets, told by their form: each is replaced by the name of its kind.

Forms with a check digit (cards, IBANs) are replaced only where it is right, so that nine in ten
other numbers of a card's length stay. Names of people have no form and are not looked for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address


def _is_card(digits: str) -> bool:
    """By Luhn's sum: every second digit from the right doubled, a multiple of ten."""
    numbers = [int(c) for c in digits if c.isdigit()][::-1]
    doubled = [sum(divmod(2 * number, 10)) for number in numbers[1::2]]
    return 13 <= len(numbers) <= 19 and (sum(numbers[::2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """ISO 13616: the rest of a division by 97 is 1."""
    plain = text.replace(" ", "")
    moved = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def _is_address(text: str) -> bool:
    try:
        return ip_address(text).is_global
    except ValueError:
        return False


def _always(_: str) -> bool:
    return True


# A kind, what must stand in a text for its form to be looked for at all, the form, and a check.
_FORMS: tuple[tuple[str, tuple[str, ...], re.Pattern[str], Callable[[str], bool]], ...] = (
    ("private key", ("PRIVATE KEY",), re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S
    ), _always),
    ("token", ("AKIA", "ASIA", "ghp_", "gho_", "ghs_", "github_pat_", "sk-", "xox", "eyJ", "AIza",
               "glpat-", "hf_"), re.compile(
        r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pos]_[A-Za-z0-9]{36,}|github_pat_\w{50,}"
        r"|sk-[A-Za-z0-9_-]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[\w-]{35}|glpat-[\w-]{20,}"
        r"|hf_[A-Za-z0-9]{30,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})"
    ), _always),
    ("email", ("@",), re.compile(
        r"(?<![\w.+-])[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,5}\.[A-Za-z]{2,24}"
        r"(?![\w-])"
    ), _always),
    ("IBAN", (), re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
     _is_iban),
    ("card", (), re.compile(
        r"(?<![\d.-])(?:\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}|\d{4}[ -]\d{6}[ -]\d{5})"
        r"(?![\d.-]\d|\d)"
    ), _is_card),
    ("address", (), re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)"), _is_address),
    ("phone", (), re.compile(
        r"(?<![\w.+])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}"
        r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4})(?![\w-]|\.\d)"
    ), _always),
)  # fmt: skip
_DIGITS = re.compile(r"\d{2}")


def hide_private(text: str) -> tuple[str, Counter[str]]:
    """The text with <email>, <phone> and so on in their places, and how many there were of each
    kind.
    """
    counts: Counter[str] = Counter()
    numbers = _DIGITS.search(text) is not None
    for kind, marks, form, check in _FORMS:
        if not (any(mark in text for mark in marks) if marks else numbers):
            continue

        def hide(match: re.Match[str], kind: str = kind, check: Callable[..., bool] = check) -> str:
            if not check(match[0]):
                return match[0]
            counts[kind] += 1
            return f"<{kind}>"

        text = form.sub(hide, text)
    return text, counts
