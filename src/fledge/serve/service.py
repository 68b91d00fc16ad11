"""What every endpoint stands on: the models, how the server was started, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fledge.retrieval.store import MemoryStore
from fledge.serve.comparisons import Comparisons
from fledge.serve.metrics import Metrics
from fledge.serve.served import ServedModels


@dataclass(frozen=True)
class Options:
    """How a server is started. key: wanted of every client; None: of none.

    votes, thumbs: the files that the page's votes go into. folders: what was named at the start,
    in its order.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    key: bytes | None = None
    timeout_s: float = 600.0  # of a request, from its first byte to its last token
    slow_s: float = 20.0  # in which a client has sent its headers, and then its body
    body_bytes: int = 4_000_000
    header_bytes: int = 32_768
    connections: int = 512  # open at a time; 1,024 files is what many systems let a process open
    votes: Path | None = None
    thumbs: Path | None = None
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True)
class ServedMemory:
    """shown: memories looked up for each question. tools: whether models are told of its tools."""

    store: MemoryStore
    shown: int
    tools: bool


@dataclass(frozen=True)
class Service:
    served: ServedModels
    options: Options
    memory: ServedMemory | None = None
    comparisons: Comparisons | None = None
    metrics: Metrics = field(default_factory=Metrics)
