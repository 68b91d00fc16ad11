#!/usr/bin/env bash
# reasoning-gym 0.1.25: five datasets have None for an answer, and hide a right one under a name of their own, or have none.
#
# Guess:  entry["answer"] is an answer: the README's first example asserts that the grader gives it 1.0.
# Seen:   of graph_color, propositional_logic, rubiks_cube, rush_hour and boxnet it is None, with a score of 0. In the metadata of
#         the first three lies a right one, as possible_answer (first to be made JSON), example_answer and example_correct_answer.
# Why it matters: pairs for supervised learning made of question and answer hold the word None, or lose five datasets.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check reasoning-gym==0.1.25
cat > "$work/run.py" <<'PY'
import json
from importlib.metadata import version

import reasoning_gym

print("reasoning-gym", version("reasoning-gym"))
hidden = {
    "graph_color": "possible_answer",
    "propositional_logic": "example_answer",
    "rubiks_cube": "example_correct_answer",
    "rush_hour": None,
    "boxnet": None,
}
for name, key in hidden.items():
    dataset = reasoning_gym.create_dataset(name, size=3, seed=7)
    for entry in dataset:
        assert entry["answer"] is None, f"{name} has an answer now"
        assert dataset.score_answer(entry["answer"], entry) == 0.0
        if key:
            told = entry["metadata"][key]
            assert dataset.score_answer(told if isinstance(told, str) else json.dumps(told), entry) == 1.0
    holding = [word for word in entry["metadata"] if "answer" in word or "solution" in word]
    print(f"{name}: answer {entry['answer']}, in the metadata {holding or 'nothing'}")
    assert holding == ([key] if key else [])
PY
"$work/venv/bin/python" "$work/run.py"
