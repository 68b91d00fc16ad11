"""A task for `fledge align` and `fledge evaluate`: word problems whose judge reads nothing of an
answer but its last number. $WORD_PROBLEMS names a .jsonl with `question` and `answer`.

How it is asked decides what there is to learn: of the easy ones SmolLM2 has one in five right when
it is to write the equation, and one in thirty when it is to say a number only.
"""

import json
import os
import re
from pathlib import Path

ROWS = [
    json.loads(line)
    for line in Path(os.environ["WORD_PROBLEMS"]).read_text(encoding="utf-8").splitlines()
]
BEFORE, AFTER = "Solve: ", "\nWrite one line: the equation and the result, nothing else."
ANSWERS = {f"{BEFORE}{row['question']}{AFTER}": float(row["answer"]) for row in ROWS}


def prompts() -> list[str]:
    return list(ANSWERS)


def score(prompt: str, completion: str) -> float:
    said = read_numbers(completion)
    return float(bool(said) and said[-1] == ANSWERS[prompt])


def read_numbers(text: str) -> list[float]:
    return [float(word) for word in re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", ""))]
