#!/usr/bin/env bash
# llguidance 1.9.1: where no token of the vocabulary can go on, the mask allows the end token, although nothing is accepted.
#
# Guess:  a mask that allows the end token says that the text so far is complete.
# Seen:   with the tokens a, b and ad, the grammar "zz" allows the end at once, and "ab" | "adc" allows it after ad. is_accepting
#         is False, and is_error True as soon as the mask has been made: whoever samples by the mask alone ends, without a word,
#         with a text outside the grammar. So is_error is to be asked after every mask.
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
    tokens = [b"a", b"b", b"ad", b"<end>"]

    def __call__(self, text):
        return []


def allowed(matcher):
    mask = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    return np.flatnonzero(np.unpackbits(mask, bitorder="little")).tolist()


tokenizer = LLTokenizer(TokenizerWrapper(Tokens()))
for grammar, said in (('start: "zz"', []), ('start: "ab" | "adc"', [2])):
    matcher = LLMatcher(tokenizer, grammar, log_level=0)
    for token in said:
        assert matcher.consume_token(token)
    seen = allowed(matcher), matcher.is_accepting(), matcher.is_error()
    print(grammar, "after", said, "allowed, accepting, error:", *seen)
    assert seen == ([3], False, True)
PY
