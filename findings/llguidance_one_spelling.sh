#!/usr/bin/env bash
# llguidance 1.9.1: of text that must come, one spelling in tokens alone is allowed, and the model's others are struck out.
#
# Guess:  a mask allows every token that some text of the grammar can go on with.
# Seen:   with the tokens a, b and ab, the grammar "ab" allows ab alone: a, b is the same text and is not allowed. Which one stays
#         is what the tokenizer's own encoding says. `%llguidance {"no_forcing": true}` allows both. So a probability under the
#         default mask is not that of the model given that its text fits the grammar.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check llguidance==1.9.1 numpy==2.3.4
"$folder/venv/bin/python" - <<'PY'
import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper, __version__

print("llguidance", __version__)


class Tokens:
    bos_token_id, eos_token_id, special_token_ids = None, 3, [3]
    tokens = [b"a", b"b", b"ab", b"<end>"]

    def __call__(self, text):  # the one text that is asked about
        return [2]


def allowed(grammar):
    mask = LLMatcher(LLTokenizer(TokenizerWrapper(Tokens())), grammar, log_level=0).compute_bitmask()
    return np.flatnonzero(np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")).tolist()


default = allowed('start: "ab"')
free = allowed('%llguidance {"no_forcing": true}\nstart: "ab"')
print("allowed by default:", default, "with no_forcing:", free)
assert default == [2] and free == [0, 2]
PY
