"""llama.cpp's own server on a GGUF file, in this process, asked over HTTP: the reader that decides
whether fledge reads and writes such a file rightly.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

# Whatever proxy the environment names, this machine is reached without it.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class LlamaServer:
    """One slot, one thread, the keys and values in float32, no cache between requests."""

    def __init__(self, path: Path, positions: int = 64) -> None:
        llama: Any = pytest.importorskip("xllamacpp")
        params = llama.CommonParams()
        params.model.path, params.n_ctx, params.n_parallel = str(path), positions, 1
        params.warmup, params.verbosity, params.cpuparams.n_threads = False, -1, 1
        params.cache_type_k = params.cache_type_v = llama.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._server = llama.Server(params)

    def __call__(self, path: str, **asked: Any) -> Any:
        request = urllib.request.Request(
            f"{self._server.listening_address}/{path}",
            json.dumps(asked).encode(),
            {"Content-Type": "application/json"},
        )
        with _OPENER.open(request, timeout=120) as answer:
            return json.load(answer)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        return self("tokenize", content=text, parse_special=special)["tokens"]

    def go_on(self, prompt: list[int], tokens: int) -> list[int]:
        """Greedily, so many tokens or up to the end of the text."""
        return self(
            "completion", prompt=prompt, n_predict=tokens, temperature=0.0, return_tokens=True,
            cache_prompt=False,
        )["tokens"]  # fmt: skip
