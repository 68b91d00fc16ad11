#!/usr/bin/env bash
# reasoning-gym 0.1.25: game_of_life_halting gives any text all of the score, and coin_flip gives it to "0".
#
# Guess:  a dataset that is judged by a program gives 1.0 to the right answer, and less to a wrong one.
# Seen:   game_of_life_halting compares the truth of two strings, and "False" is as true a string as "True": all but no text at all
#         is right. coin_flip gives a wrong number that share of the score in which it begins as the right one does, of the shorter
#         of the two: "0" is all the beginning of 0.109375, "0.1" too, and 0.11, which is nearer, gets less.
# Why it matters: a model trained on either goes to a reward of 1.0 and has learned to say anything, or to say "0".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check reasoning-gym==0.1.25
cat > "$work/run.py" <<'PY'
from importlib.metadata import version

import reasoning_gym

print("reasoning-gym", version("reasoning-gym"))
MANY = 10


def mean(name, choose):
    """The mean score of what `choose` says to each entry."""
    dataset = reasoning_gym.create_dataset(name, size=MANY, seed=7)
    return sum(dataset.score_answer(choose(entry), entry) for entry in dataset) / MANY


other = {"True": "False", "False": "True"}
seen = {
    "game_of_life_halting, its own answer": mean("game_of_life_halting", lambda entry: entry["answer"]),
    "game_of_life_halting, the other one": mean("game_of_life_halting", lambda entry: other[entry["answer"]]),
    "game_of_life_halting, 'I do not know'": mean("game_of_life_halting", lambda entry: "I do not know"),
    "coin_flip, its own answer": mean("coin_flip", lambda entry: entry["answer"]),
    "coin_flip, '0'": mean("coin_flip", lambda entry: "0"),
    "coin_flip, '0.'": mean("coin_flip", lambda entry: "0."),
    "leg_counting, '0' (for comparison)": mean("leg_counting", lambda entry: "0"),
}
for name, score in seen.items():
    print(f"{name}: mean score {score}")
*full, compared = seen.values()
assert full == [1.0] * 6, "the graders tell right from wrong now"
assert compared == 0.0

coins = reasoning_gym.create_dataset("coin_flip", size=1, seed=7)
entry = coins[0]
assert entry["answer"] == "0.109375"
near = {text: coins.score_answer(text, entry) for text in ("0.1", "0.11", "0.109", "0.1094")}
print("coin_flip, for", entry["answer"], near)
assert near["0.1"] == near["0.109"] == 1.0 > near["0.11"]
PY
"$work/venv/bin/python" "$work/run.py"
