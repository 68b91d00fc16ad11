"""A task for `fledge align` and `fledge evaluate`: word problems whose judge reads nothing of an
answer but its last number. $WORD_PROBLEMS names a .jsonl with `question` and `answer`.

The right one earns 1, and one that two numbers of the question come to, added, subtracted,
multiplied or divided, TRIED: SmolLM2 is right once in thirty times, so that with 0 most steps have
nothing to learn from. A part for any number, or for brevity, taught it to say a number at once,
which is wrong.
"""

import json
import os
import re
from itertools import permutations
from pathlib import Path

ROWS = [
    json.loads(line)
    for line in Path(os.environ["WORD_PROBLEMS"]).read_text(encoding="utf-8").splitlines()
]
ASKED = "\nAnswer with a number only."
TRIED = 0.3
ANSWERS = {row["question"] + ASKED: float(row["answer"]) for row in ROWS}


def prompts() -> list[str]:
    return list(ANSWERS)


def score(prompt: str, completion: str) -> float:
    said = read_numbers(completion)
    if not said:
        return 0.0
    if said[-1] == ANSWERS[prompt]:
        return 1.0
    return TRIED if said[-1] in list_results(read_numbers(prompt)) else 0.0


def read_numbers(text: str) -> list[float]:
    return [float(word) for word in re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", ""))]


def list_results(numbers: list[float]) -> set[float]:
    """What two of them come to."""
    pairs = list(permutations(numbers, 2))
    quotients = {a / b for a, b in pairs if b}
    return {n for a, b in pairs for n in (a + b, a - b, a * b)} | quotients
