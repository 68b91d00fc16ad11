#!/usr/bin/env bash
# reasoning-gym 0.1.25: the grader that a third of its datasets share gives a wrong number more than a right sentence.
#
# Guess:  partial credit goes to answers that are nearer to the right one; a grader of numbers reads numbers.
# Seen:   it looks for the right answer's letters within the text and gives the share of the text that they are. For 188 the wrong
#         1880 and 1188 get 0.75, "188 legs" 0.375, and 189 nothing. A last line break costs a quarter.
# Why it matters: to repeat a digit is worth more to a learner than to be right in a sentence; and a mean score of 0.7 may be that
#         of a model that is never right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check reasoning-gym==0.1.25
cat > "$work/run.py" <<'PY'
from importlib.metadata import version

import reasoning_gym
from reasoning_gym.dataset import ProceduralDataset
from reasoning_gym.factory import DATASETS

sharing = [name for name, (made, _) in DATASETS.items() if made.score_answer is ProceduralDataset.score_answer]
print("reasoning-gym", version("reasoning-gym"), f"{len(sharing)} of {len(DATASETS)} datasets share the grader")
assert len(sharing) > 20
for name in ("leg_counting", "count_primes", "basic_arithmetic", "lcm"):
    assert name in sharing
    dataset = reasoning_gym.create_dataset(name, size=20, seed=7)

    def mean(say):
        return sum(dataset.score_answer(say(entry["answer"]), entry) for entry in dataset) / 20

    right = mean(lambda answer: answer)
    sentence = mean(lambda answer: f"The answer is {answer}.")
    broken = mean(lambda answer: answer + "\n")
    tenfold = mean(lambda answer: answer + "0")
    print(f"{name}: right {right:.2f}, right and a line break {broken:.2f}, ten times too much {tenfold:.2f}", end=", ")
    print(f"a right sentence {sentence:.2f}")
    assert right == 1.0
    assert broken == tenfold > 2 * sentence > 0, "the grader reads the number now"
legs = reasoning_gym.create_dataset("leg_counting", size=1, seed=7)
entry = legs[0]
assert entry["answer"] == "188"
scores = {text: legs.score_answer(text, entry) for text in ("1880", "1188", "188 legs", "189", "188.0")}
print("leg_counting, for 188:", scores)
assert scores["1880"] == scores["1188"] == 0.75 and scores["188 legs"] == 0.375 and scores["189"] == 0.0
PY
"$work/venv/bin/python" "$work/run.py"
