"""N-gram models as ARPA files, the text format of SRILM, KenLM and others: of every n-gram the
log₁₀ of its probability, its words, and the log₁₀ of its backoff.

As KenLM has it: <s> opens a text, </s> closes it and is said, <unk> stands for a word of no other
name. https://cmusphinx.github.io/wiki/arpaformat/
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fledge.errors import UserError
from fledge.models.language.ngram import Floats, Ngram, Order
from fledge.text.ngram_counts import Ints, find, make_key
from fledge.text.tokenizer import Tokenizer

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0  # log₁₀ of what is never said, as others write it
_LN10 = math.log(10)
_BATCH = 2**16  # lines that are made at a time


def spell(token: bytes) -> str:
    """A token as a word of an ARPA file: white space, controls, % and what is no UTF-8 as %XX; so
    that no two tokens are one word and none is <s>.
    """
    text = token.decode("utf-8", errors="surrogateescape")
    plain = (c if c.isprintable() and c not in " %<" else _escape(c) for c in text)
    return "".join(plain) or "%"


def name_tokens(tokenizer: Tokenizer) -> list[str]:
    """A word for every token; two that are written alike are told apart by their numbers."""
    names: dict[str, int] = {}
    for i, token in enumerate(tokenizer.vocabulary):
        name = {tokenizer.begin: BEGIN, tokenizer.end: END}.get(i) or spell(token)
        names[f"{name}%#{i}" if name in names else name] = i
    return list(names)


def _escape(character: str) -> str:
    raw = character.encode("utf-8", errors="surrogateescape")
    return "".join(f"%{byte:02X}" for byte in raw)


def write_arpa(file: Path, model: Ngram, names: Sequence[str]) -> None:
    """names: of the tokens [V], different ones. Raises UserError for a model whose contexts do not
    leave the rest to shorter ones.
    """
    if model.additive:
        raise UserError(
            "an ARPA file holds what contexts leave to shorter ones, and smoothing=add_k and "
            "unsmoothed leave it to none: count the model with smoothing=kneser_ney."
        )
    words = np.array(names, dtype=object)
    told = np.flatnonzero(np.isfinite(model.logp) | (np.arange(len(names)) == model.border))
    with file.open("w", encoding="utf-8") as out:
        extra = UNKNOWN not in {names[int(i)] for i in told}
        out.write(f"\\data\\\nngram 1={len(told) + extra}\n")
        for n, order in enumerate(model.longer, 2):
            out.write(f"ngram {n}={len(order.keys)}\n")
        out.write("\n\\1-grams:\n")
        if extra:
            out.write(f"{NEVER}\t{UNKNOWN}\n")
        spelled = words
        _write(out.writelines, words[told], model.logp[told], model.backoff[told])
        for n, order in enumerate(model.longer, 2):
            out.write(f"\n\\{n}-grams:\n")
            begins, last = order.keys >> 32, order.keys & (2**32 - 1)
            spelled = spelled[begins] + " " + words[last]
            _write(out.writelines, spelled, order.logp, order.backoff)
        out.write("\n\\end\\\n")


def _write(
    write: Callable[[Iterable[str]], object], spelled: Any, logp: Floats, backoff: Floats
) -> None:
    ten = np.maximum(logp / _LN10, NEVER)
    left = np.maximum(backoff / _LN10, NEVER) if len(backoff) else None
    for begin in range(0, len(spelled), _BATCH):
        part = slice(begin, begin + _BATCH)
        if left is None:
            write(f"{p:.7g}\t{w}\n" for p, w in zip(ten[part], spelled[part], strict=True))
        else:
            rows = zip(ten[part], spelled[part], left[part], strict=True)
            write(f"{p:.7g}\t{w}\t{b:.7g}\n" for p, w, b in rows)


def read_arpa(file: Path, names: Sequence[str] | None = None) -> tuple[list[str], Ngram]:
    """The words and the model of them. names: of all there may be, in their order; by default those
    of the file, in its. Raises UserError for a file that is none, or is cut off.
    """
    with file.open(encoding="utf-8", errors="surrogateescape") as lines:
        numbered = enumerate(lines, 1)
        sizes = _read_sizes(file, numbered)
        numbers = {name: i for i, name in enumerate(names or ())}
        logp = np.full(len(numbers) or sizes[0], -np.inf, np.float32)
        left = np.zeros(len(logp), np.float32)
        for number, p, [word], b in _read_order(file, numbered, 1, sizes[0]):
            if names is None and word in numbers:
                raise _wrong(file, number, f"has {word!r} a second time")
            if names is None:
                numbers[word] = len(numbers)
            elif word not in numbers:
                if word == UNKNOWN:  # of which such a tokenizer has none
                    continue
                said = f"has {word!r}, which is no token of the tokenizer beside it"
                raise _wrong(file, number, said)
            logp[numbers[word]], left[numbers[word]] = _natural(p), b * _LN10
        longer: list[Order] = []
        for n, size in enumerate(sizes[1:], 2):
            longer.append(_read_longer(file, numbered, n, size, numbers, longer))
    last = Order(longer[-1].keys, longer[-1].logp, np.zeros(0, np.float32)) if longer else None
    orders = (*longer[:-1], last) if last else ()
    border = numbers.get(BEGIN)
    if border is not None:
        logp[border] = -np.inf
    return list(numbers), Ngram(logp, left, orders, border)


def _natural(ten: float) -> float:
    return -np.inf if ten <= NEVER else ten * _LN10


def _read_sizes(file: Path, lines: Iterator[tuple[int, str]]) -> list[int]:
    sizes: list[int] = []
    for number, line in lines:
        if line.startswith("ngram "):
            try:
                sizes.append(int(line.split("=")[1]))
            except (IndexError, ValueError):
                raise _wrong(file, number, "says no number of n-grams") from None
        elif line.startswith("\\1-grams:") and sizes:
            return sizes
        elif line.strip() not in ("", "\\data\\") and sizes:
            raise _wrong(file, number, "is neither `ngram N=…` nor `\\1-grams:`")
    raise UserError(f"{file} is no ARPA file: it has no \\data\\ with `ngram 1=…`.")


def _read_order(
    file: Path, lines: Iterator[tuple[int, str]], n: int, size: int
) -> Iterator[tuple[int, float, list[str], float]]:
    """Line number, log₁₀ p, words, log₁₀ backoff."""
    taken = 0
    for number, line in lines:
        line = line.strip("\r\n")
        if not line.strip():
            continue
        if line.rstrip() == f"\\{n}-grams:":
            continue
        if line.startswith("\\") and line.rstrip().endswith(("-grams:", "\\end\\")):
            break
        fields = line.split()
        if len(fields) not in (n + 1, n + 2):
            wanted = f"a {n}-gram has {n + 1} or one more"
            raise _wrong(file, number, f"has {len(fields)} fields: {wanted}")
        try:
            p, left = float(fields[0]), float(fields[n + 1]) if len(fields) > n + 1 else 0.0
        except ValueError:
            raise _wrong(file, number, "has no number where one belongs") from None
        yield number, p, fields[1 : n + 1], left
        taken += 1
        if taken == size:
            return
    if taken < size:
        raise UserError(
            f"{file} has {taken:,} of the {size:,} {n}-grams that it speaks of: it is cut off."
        )


def _read_longer(
    file: Path,
    lines: Iterator[tuple[int, str]],
    n: int,
    size: int,
    numbers: dict[str, int],
    shorter: Sequence[Order],
) -> Order:
    ids, logp = np.zeros((size, n), np.int64), np.zeros(size, np.float32)
    left, places = np.zeros(size, np.float32), np.zeros(size, np.int64)
    for i, (number, p, words, b) in enumerate(_read_order(file, lines, n, size)):
        try:
            ids[i] = [numbers[word] for word in words]
        except KeyError as error:
            raise _wrong(file, number, f"has {error}, which is no 1-gram") from None
        logp[i], left[i], places[i] = _natural(p), b * _LN10, number
    begins: Ints = ids[:, 0]
    for k, order in enumerate(shorter, 1):
        begins = find(order.keys, make_key(begins, ids[:, k]))
        if (begins < 0).any():
            line = int(places[int(np.argmin(begins))])
            raise _wrong(file, line, f"begins with a {k + 1}-gram that the file has not")
    keys = make_key(begins, ids[:, -1])
    order = np.argsort(keys)
    return Order(keys[order], logp[order], left[order])


def _wrong(file: Path, number: int, what: str) -> UserError:
    return UserError(f"{file}, line {number}, {what}: write the file again.")
