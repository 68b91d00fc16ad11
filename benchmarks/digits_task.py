"""A task for `fledge align` and `fledge evaluate`: word problems whose judge reads nothing of an
answer but its last number. $WORD_PROBLEMS names a .jsonl with `question` and `answer`.

A right number earns 1. A wrong one earns a little, the more of the answer it is: a model of this
size that is asked for a number tells a story first, hardly ever gets to a right one, and of rewards
that are all 0 nobody learns.
"""

import json
import os
import re
from pathlib import Path

ROWS = [
    json.loads(line)
    for line in Path(os.environ["WORD_PROBLEMS"]).read_text(encoding="utf-8").splitlines()
]
ASKED = "\nAnswer with a number only."
ANSWERS = {row["question"] + ASKED: float(row["answer"]) for row in ROWS}
BREVITY = 0.2  # what an answer earns that is a wrong number and nothing else


def prompts() -> list[str]:
    return list(ANSWERS)


def score(prompt: str, completion: str) -> float:
    said = completion.strip().replace(",", "")
    numbers = re.findall(r"-?\d+(?:\.\d+)?", said)
    if not numbers:
        return 0.0
    if float(numbers[-1]) == ANSWERS[prompt]:
        return 1.0
    return BREVITY * len(numbers[-1]) / len(said)
