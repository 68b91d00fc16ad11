#!/usr/bin/env bash
# torch 2.13.0: on a CPU, seeds that are equal modulo 2^32 are one stream of random numbers.
#
# Guess:  Generator.manual_seed documents a range of 64 bits, so seeds out of a 64-bit hash are different streams.
# Seen:   torch.Generator().manual_seed(7) and manual_seed(7 + 2**32) draw the same numbers, of every kind (rand, randn, randint,
#         randperm), while initial_seed() and get_state() differ: comparing states does not show it. numpy 2 takes the whole number.
# Why it matters: seeds made as `high << 32 | low` (a rank in the high half, say) repeat; n hashed seeds meet after about 2^16, not 2^32.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.2
"$folder/venv/bin/python" - <<'PY'
import numpy
import torch


def seeded(seed):
    return torch.Generator().manual_seed(seed)


low, high = 7, 7 + 2**32
draws = {
    "rand": lambda seed: torch.rand(1000, generator=seeded(seed)),
    "randn": lambda seed: torch.randn(1000, generator=seeded(seed)),
    "randint": lambda seed: torch.randint(1 << 40, (1000,), generator=seeded(seed)),
    "randperm": lambda seed: torch.randperm(1000, generator=seeded(seed)),
}
print("torch", torch.__version__, "numpy", numpy.__version__)
for name, draw in draws.items():
    same = torch.equal(draw(low), draw(high))
    print(f"{name}: seeds {low} and {high} draw the same 1,000 numbers: {same}")
    assert same
    assert not torch.equal(draw(low), draw(low + 1))
print("initial_seed:", seeded(low).initial_seed(), seeded(high).initial_seed())
assert seeded(low).initial_seed() != seeded(high).initial_seed()
print("states equal:", torch.equal(seeded(low).get_state(), seeded(high).get_state()))
assert not torch.equal(seeded(low).get_state(), seeded(high).get_state())
assert (numpy.random.default_rng(low).random(1000) != numpy.random.default_rng(high).random(1000)).all()
print("numpy: the same two seeds draw different numbers")
PY
