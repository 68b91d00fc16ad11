"""1,797 handwritten digits of 8 × 8, each number from 0 to 16: what is there without any file.

The test part of "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998, UCI Machine
Learning Repository, doi 10.24432/C50P49, CC BY 4.0), as scikit-learn ships it.
"""

from __future__ import annotations

from pathlib import Path

import torch

from fledge.images.idx import read_idx
from fledge.images.pictures import PictureSet, make_set

LEVELS = 17
HERE = Path(__file__).parent


def load_digits() -> PictureSet:
    x = torch.from_numpy(read_idx(HERE / "digits-images-idx3-ubyte.gz")[:, None])
    label = torch.from_numpy(read_idx(HERE / "digits-labels-idx1-ubyte.gz"))
    return make_set(x, label, LEVELS, [str(n) for n in range(10)], "digits")
