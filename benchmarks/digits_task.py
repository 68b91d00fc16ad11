"""A task for `fledge align` and `fledge evaluate`: word problems whose judge reads nothing of an
answer but its last number. $WORD_PROBLEMS names a .jsonl with `question` and `answer`.
"""

import json
import os
import re
from pathlib import Path

ROWS = [
    json.loads(line)
    for line in Path(os.environ["WORD_PROBLEMS"]).read_text(encoding="utf-8").splitlines()
]
ANSWERS = {row["question"]: float(row["answer"]) for row in ROWS}


def prompts() -> list[str]:
    return list(ANSWERS)


def score(prompt: str, completion: str) -> float:
    numbers = re.findall(r"-?\d+(?:\.\d+)?", completion.replace(",", ""))
    return float(bool(numbers) and float(numbers[-1]) == ANSWERS[prompt])
