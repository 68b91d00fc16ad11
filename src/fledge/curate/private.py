"""Personal data and secrets, told by their form: each is replaced by the name of its kind.

Forms with a check digit (cards, IBANs) are replaced only where it is right, so that nine in ten
other numbers of a card's length stay. Names of people have no form and are not looked for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Form:
    """kind: what a match is replaced by. check: whether what has the form is one."""

    kind: str
    form: re.Pattern[str]
    check: Callable[[str], bool] = _always


@dataclass(frozen=True)
class _Search:
    """Forms that are looked for only around their marks: a form may be tried at every character of
    a text at a tenth of the speed at which a mark is looked for.

    words: of which one must be in a text at all. mark: what stands in each match of a form, and
    all that follows until a border. border: what never stands in a match of the forms, nor can
    change what they ask of what is around one.
    """

    words: tuple[str, ...]
    mark: re.Pattern[str]
    border: re.Pattern[str]
    forms: tuple[_Form, ...]


_TOKENS = ("AKIA", "ASIA", "ghp_", "gho_", "ghs_", "github_pat_", "sk-", "xox", "eyJ", "AIza",
           "glpat-", "hf_")  # fmt: skip
# Line feeds and letters, but for capitals, which IBANs have: of Latin, Greek, Cyrillic, and of
# Chinese, Japanese and Korean. No digit of any script is among them.
_NO_NUMBER = "a-z\n\u00c0-\u052f\u3041-\u9fff\uac00-\ud7a3"
_SEARCHES = (
    _Search(("PRIVATE KEY",), re.compile(r".+", re.S), re.compile(r"(?!)"), (
        _Form("private key", re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S
        )),
    )),
    _Search(_TOKENS, re.compile(rf"(?:{'|'.join(_TOKENS)})\S*"), re.compile(r"\s"), (
        _Form("token", re.compile(
            r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pos]_[A-Za-z0-9]{36,}|github_pat_\w{50,}"
            r"|sk-[A-Za-z0-9_-]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[\w-]{35}|glpat-[\w-]{20,}"
            r"|hf_[A-Za-z0-9]{30,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})"
        )),
    )),
    _Search(("@",), re.compile(r"@\S*"), re.compile(r"\s"), (
        _Form("email", re.compile(
            r"(?<![\w.+-])[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,5}"
            r"\.[A-Za-z]{2,24}(?![\w-])"
        )),
    )),
    _Search((), re.compile(rf"\d[\d.][^{_NO_NUMBER}]*"), re.compile(f"[{_NO_NUMBER}]"), (
        _Form("IBAN", re.compile(
            r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"
        ), _is_iban),
        _Form("card", re.compile(
            r"(?<![\d.-])(?:\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}|\d{4}[ -]\d{6}[ -]\d{5})"
            r"(?![\d.-]\d|\d)"
        ), _is_card),
        _Form("address", re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)"), _is_address),
        _Form("phone", re.compile(
            r"(?<![\w.+])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}"
            r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4})(?![\w-]|\.\d)"
        )),
    )),
)  # fmt: skip


def hide_private(text: str) -> tuple[str, Counter[str]]:
    """The text with <email>, <phone> and so on in their places, and how many there were of each
    kind.
    """
    counts: Counter[str] = Counter()
    for search in _SEARCHES:
        if not search.words or any(word in text for word in search.words):
            text = _hide_around(text, search, counts)
    return text, counts


def _hide_around(text: str, search: _Search, counts: Counter[str]) -> str:
    """Between the two borders around each mark; forms look at the borders too."""
    parts, done = [], 0
    for marked in search.mark.finditer(text):
        begin, end = marked.span()
        while begin > done and not search.border.match(text, begin - 1):
            begin -= 1
        before, after = min(1, begin), min(1, len(text) - end)
        hidden = _hide_forms(text[begin - before : end + after], search.forms, counts)
        parts += [text[done:begin], hidden[before : len(hidden) - after]]
        done = end
    return "".join([*parts, text[done:]])


def _hide_forms(text: str, forms: tuple[_Form, ...], counts: Counter[str]) -> str:
    for form in forms:

        def hide(match: re.Match[str], form: _Form = form) -> str:
            if not form.check(match[0]):
                return match[0]
            counts[form.kind] += 1
            return f"<{form.kind}>"

        text = form.form.sub(hide, text)
    return text
