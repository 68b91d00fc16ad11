#!/usr/bin/env bash
# pettingzoo 1.27.0: copy.deepcopy of a game in play gives a new game that was not begun, and not a copy.
#
# Guess:  a deep copy is where its original is, or is refused; a search that tries moves on copies works.
# Seen:   the copy of a connect four after two moves has an empty board and no agent whose turn it is. The environments derive
#         from EzPickle, which makes a copy anew from the arguments of the constructor.
# Why it matters: a planner that copies an environment plans from another position. Moves have to be played again from the first.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check pettingzoo==1.27.0 pygame==2.6.1
cat > "$work/run.py" <<'PY'
import copy
from importlib.metadata import version

import numpy as np
from pettingzoo.classic import connect_four_v3

print("pettingzoo", version("pettingzoo"))
env = connect_four_v3.env()
env.reset(seed=0)
env.step(3)
env.step(3)
twin = copy.deepcopy(env)
left, in_copy = (int((np.array(one.unwrapped.board) == 0).sum()) for one in (env, twin))
turn = getattr(twin, "agent_selection", None)
print(f"empty squares: {left}, of the copy {in_copy}; whose turn: {env.agent_selection}, {turn}")
assert left == 40
assert in_copy == 42 and turn is None, "a copy is where its original is now"
PY
"$work/venv/bin/python" "$work/run.py"
