"""llama.cpp in this process, asked over its own HTTP server with all rows in one request."""

from __future__ import annotations

import importlib
import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Whatever proxy the environment names, this machine is reached without it.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Llama:
    """As many slots as rows, continuous batching, flash attention where it has it, weights repacked
    for the processor: its own defaults.
    """

    def __init__(self, path: Path, rows: int, positions: int, threads: int) -> None:
        """positions: of a row. Raises ImportError where xllamacpp is not installed."""
        llama: Any = importlib.import_module("xllamacpp")  # its names are those of its binary
        params: Any = llama.CommonParams()
        params.model.path = str(path)
        params.n_parallel, params.n_ctx = rows, rows * positions
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.warmup, params.verbosity = False, -1
        self._server: Any = llama.Server(params)

    def go_on(
        self, prompts: Sequence[Sequence[int]], new: int, *, cached: bool = False
    ) -> list[list[int]]:
        """Greedily, exactly so many tokens. cached: a prompt that begins like the one before it is
        read from where they part.
        """
        asked = {
            "prompt": [list(prompt) for prompt in prompts], "n_predict": new, "temperature": 0.0,
            "samplers": ["top_k"], "top_k": 1, "ignore_eos": True, "cache_prompt": cached,
            "return_tokens": True,
        }  # fmt: skip
        request = urllib.request.Request(
            f"{self._server.listening_address}/completion",
            json.dumps(asked).encode(),
            {"Content-Type": "application/json"},
        )
        with _OPENER.open(request) as answer:
            said = json.load(answer)
        return [one["tokens"] for one in (said if isinstance(said, list) else [said])]
