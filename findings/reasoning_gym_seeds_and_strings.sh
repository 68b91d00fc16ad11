#!/usr/bin/env bash
# reasoning-gym 0.1.25: with one seed, some datasets ask other questions in each process.
#
# Guess:  create_dataset(name, size, seed) is one list of questions, as the seed says; entry 17 today is entry 17 tomorrow.
# Seen:   within a process it is. isomorphic_strings, ransom_note and polynomial_multiplication draw from sets of strings or
#         symbols, whose order Python chooses anew for each process: other letters, other polynomials to multiply. Of word_ladder
#         the questions stay and the answer may be another. PYTHONHASHSEED=0 holds them all.
# Why it matters: a held-out set that is named by seed and number is another set on each machine and after each resumption; a worker
#         that grades by number grades another question's answer.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check reasoning-gym==0.1.25
cat > "$work/ask.py" <<'PY'
import json
import sys

import reasoning_gym

told = {}
for name in ("isomorphic_strings", "ransom_note", "polynomial_multiplication", "word_ladder", "leg_counting", "gcd"):
    dataset = reasoning_gym.create_dataset(name, size=6, seed=7)
    told[name] = [(entry["question"], entry["answer"]) for entry in dataset]
    assert told[name] == [(entry["question"], entry["answer"]) for entry in dataset]
json.dump(told, sys.stdout)
PY
cat > "$work/compare.py" <<'PY'
import json
import os
import subprocess
import sys
from importlib.metadata import version

print("reasoning-gym", version("reasoning-gym"), "Python", sys.version.split()[0])


def ask(hashes):
    environment = os.environ | {"PYTHONHASHSEED": hashes}
    return json.loads(subprocess.run([sys.executable, sys.argv[1]], env=environment, check=True, capture_output=True).stdout)


first, second, first_again = ask("1"), ask("2"), ask("1")
assert first == first_again
apart = {}
for name in first:
    pairs = list(zip(first[name], second[name], strict=True))
    apart[name] = [sum(one[part] != two[part] for one, two in pairs) for part in (0, 1)]
    print(f"{name}: of {len(pairs)} entries {apart[name][0]} have another question, {apart[name][1]} another answer")
print("for example:", *(told["ransom_note"][0][0].splitlines()[-2:] for told in (first, second)))
for name in ("isomorphic_strings", "ransom_note", "polynomial_multiplication"):
    assert apart[name][0] > 0, f"the seed alone chooses {name} now"
assert apart["word_ladder"][0] == 0 < apart["word_ladder"][1]
assert apart["leg_counting"] == apart["gcd"] == [0, 0]
PY
"$work/venv/bin/python" "$work/compare.py" "$work/ask.py"
