"""llama.cpp's server on a GGUF file, until it is killed: `python -m tests.sample.llama_process FILE
PORT`.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any


def main() -> None:
    xllamacpp: Any = importlib.import_module("xllamacpp")  # of which the stubs know nothing
    params = xllamacpp.CommonParams()
    params.model.path, params.port = sys.argv[1], int(sys.argv[2])
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 256, 2, False, -1
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
