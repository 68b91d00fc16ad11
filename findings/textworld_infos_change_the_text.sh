#!/usr/bin/env bash
# textworld 1.7.0: what a game says depends on which facts about it one asked for, and holds a count of one's moves.
#
# Guess:  request_infos chooses what lies beside the text; the text is the game's answer, and one command in one place has one answer.
# Seen:   to ask for admissible_commands, for facts or for policy_commands puts another line break into each answer. Each ends, as
#         on a screen of text, with the next prompt, blanks up to the right edge, and score/moves (0/2 is no score out of two): to
#         look twice reads differently.
# Why it matters: a model that learned with one set of infos reads other tokens with another; and a cache, or a search that tells
#         places by their text, never finds one again.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check textworld==1.7.0
cat > "$work/run.py" <<'PY'
import re
import sys
from importlib.metadata import version

import textworld

options = textworld.GameOptions()
options.seeds, options.nb_rooms, options.nb_objects, options.quest_length = 1234, 3, 6, 4
options.path = sys.argv[1] + "/game.z8"
textworld.make(options)
print("textworld", version("textworld"))


def play(**asked):
    place = textworld.start(options.path, request_infos=textworld.EnvInfos(**asked))
    place.reset()
    said = [place.step("look")[0].feedback for _ in range(2)]
    place.close()
    return said


plain = play()
for name in ("score", "won", "description", "admissible_commands", "facts", "policy_commands"):
    said = play(**{name: True})
    breaks = [texts[0].count("\n") for texts in (plain, said)]
    print(f"{name}: the same text as without: {said == plain}, line breaks {breaks[0]} before and {breaks[1]} with it")
    assert (said == plain) is (name in ("score", "won", "description"))
    if said != plain:
        assert [text.count("\n") for text in said] == [text.count("\n") + 1 for text in plain]
ends = [re.search(r">( +)(-= .* =-\d+/\d+)$", text) for text in plain]
print("two looks end with", [f"> {len(end[1])} blanks {end[2]}" for end in ends])
assert plain[0] != plain[1]
assert [end[2].split("/")[-1] for end in ends] == ["2", "3"]
assert plain[0].removesuffix("2") == plain[1].removesuffix("3")
PY
"$work/venv/bin/python" "$work/run.py" "$work"
