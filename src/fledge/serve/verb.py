"""`fledge serve`: models that answer, over OpenAI's API and on a page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from fledge.engine.generation import Generation
from fledge.errors import UserError
from fledge.next_command import write_command
from fledge.recipes.family_field import FamilyField
from fledge.recipes.look.chat_memory import ChatMemory
from fledge.recipes.prompting.memory_fields import MemoryFields
from fledge.runs.show import Show

if TYPE_CHECKING:
    from fledge.serve.served import ServedModels
    from fledge.serve.service import Options

KEY = "FLEDGE_KEY"
POSITIONS = 4096  # of a slot, where the model's context is longer and nothing else was said


def _split(value: Any) -> Any:
    """Names with commas between, or a list of them."""
    if isinstance(value, str):
        return tuple(part for part in value.split(",") if part)
    return tuple(value) if isinstance(value, list) else value


class ServeConfig(FamilyField, MemoryFields):
    """Serve models: OpenAI's API under /v1, and a page to talk to them, and to play against what
    `fledge selfplay` made. Several runs are told apart by their names. It answers this machine
    alone, unless `host` and a key say otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: Annotated[tuple[Path, ...], BeforeValidator(_split)] = Field(
        min_length=1, description="runs or model folders, with spaces or commas between"
    )
    host: str = Field(default="127.0.0.1", description="the address to listen at")
    port: int = Field(default=8000, ge=0, le=65535, description="0 takes a free one")
    key_file: Path | None = Field(
        default=None,
        description=f"a file with the key that clients send; or the variable {KEY}",
    )
    slots: int = Field(default=16, ge=1, description="rows answered side by side, of each model")
    queue: int = Field(default=256, ge=0, description="rows that may wait; more are refused")
    connections: int = Field(default=512, ge=1, description="clients connected at a time")
    context: int | None = Field(
        default=None,
        ge=2,
        description=f"tokens of prompt and answer; by default the model's, up to {POSITIONS:,}",
    )
    precision: Generation = Field(default="fp32", description="of the weights as they generate")
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="for computing; by default as many as prove to be fastest, again where other "
        "programs come or go, or as OMP_NUM_THREADS says",
    )
    timeout: float = Field(default=600.0, gt=0, description="seconds a request may take in all")
    slow: float = Field(
        default=20.0, gt=0, description="seconds in which a client has sent its headers, its body"
    )
    runs: Path | None = Field(
        default=None,
        description="a folder whose runs the page shows, beside those that are served",
    )
    votes: Path | None = Field(
        default=None, description="a .jsonl that votes between two answers are added to"
    )
    thumbs: Path | None = Field(
        default=None, description="a .jsonl that thumbs up and down are added to"
    )
    compare: Path | None = Field(
        default=None,
        description="a .jsonl of pairs of answers, or of prompts: the page asks a person about "
        "them, the most telling first, and adds what is said to votes",
    )


def serve(config: ServeConfig, show: Show) -> dict[str, Any]:
    """Until Ctrl-C or SIGTERM; what streams then is finished. Raises UserError for what is no
    model, an address that cannot be had, and one beyond this machine without a key.
    """
    from fledge.serve.app import build_app
    from fledge.serve.comparisons import open_comparisons
    from fledge.serve.http_server import open_socket, run_app
    from fledge.serve.service import ServedMemory

    config.use_family()
    options = make_options(config)
    check_places(config)
    comparisons = open_comparisons(config.compare, config.votes)
    store = config.open_memory()
    memory = (
        None if store is None else ServedMemory(store, config.memory_shown, config.memory_tools)
    )
    opened = open_socket(config.host, config.port)
    try:
        served = load_all(config, show)
        if memory is not None and memory.tools:
            for one in served.models.values():
                told = ChatMemory(memory.store, memory.shown, True, one.tokenizer)
                told.check_room(one.tokenizer, one.positions)
        port = opened.getsockname()[1]
        whole = run_app(
            build_app(
                served,
                options,
                page=bool(served.models or served.players),
                memory=memory,
                comparisons=comparisons,
            ),
            options,
            opened,
            listening=lambda: tell_start(config, served, port, show),
            stopping=lambda: show.line("serve: finishing what streams; once more ends at once."),
        )
    finally:
        opened.close()
    if not whole:
        for one in served.models.values():
            one.loop.abandon()
        raise KeyboardInterrupt
    show.line("serve: ended.")
    return {"models": served.names}


def make_options(config: ServeConfig) -> Options:
    from fledge.serve.guard import is_loopback
    from fledge.serve.service import Options

    key = read_key(config.key_file)
    if key is None and not is_loopback(config.host):
        raise UserError(
            f"host={config.host} lets other machines ask, and no key was given: put one into a "
            f"file and give key_file=FILE, or set {KEY}."
        )
    return Options(
        host=config.host,
        port=config.port,
        key=key,
        timeout_s=config.timeout,
        slow_s=config.slow,
        connections=config.connections,
        votes=config.votes,
        thumbs=config.thumbs,
        folders=(*config.base, *(() if config.runs is None else (config.runs,))),
    )


def check_places(config: ServeConfig) -> None:
    """Raises UserError for a folder of runs that is none, and for votes that no file can hold."""
    if config.runs is not None and not config.runs.is_dir():
        raise UserError(f"runs={config.runs} is no folder: give the one that holds your runs.")
    for field, file in (("votes", config.votes), ("thumbs", config.thumbs)):
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise UserError(f"{field}={file} can be no file: give one, such as {field}.jsonl.")
    if config.votes is not None and config.votes == config.thumbs:
        raise UserError(f"votes and thumbs are both {config.votes}: give each a file of its own.")


def read_key(file: Path | None) -> bytes | None:
    """Raises UserError for a file that cannot be read, and for a key that can be guessed."""
    if file is None:
        said = os.environ.get(KEY, "").strip()
        where = f"the variable {KEY}"
        key = said.encode() or None
    else:
        where = str(file)
        try:
            key = file.read_bytes().strip()
        except OSError as error:
            raise UserError(
                f"key_file={file} cannot be read ({(error.strerror or '').lower()}): give a file "
                "with the key alone."
            ) from None
    if key is not None and (len(key) < 8 or len(key) > 4096 or any(c <= 32 for c in key)):
        raise UserError(
            f"the key in {where} is none: give one word of 8 characters or more, such as what "
            "`openssl rand -hex 24` prints."
        )
    return key


def load_all(config: ServeConfig, show: Show) -> ServedModels:
    from fledge.engine.packed_weights import PackedWeights
    from fledge.models.language.encoder import Encoder
    from fledge.serve.encoders import ServedEncoder
    from fledge.serve.loading import load_many
    from fledge.serve.players import ServedPlayer, is_player
    from fledge.serve.served import Served, ServedModels, ServedReward, serve_model

    models: dict[str, Served] = {}
    rewards: dict[str, ServedReward] = {}
    encoders: dict[str, ServedEncoder] = {}
    players: dict[str, ServedPlayer] = {}
    speaking_folders: list[Path] = []
    for name, folder in zip(name_all(config.base), config.base, strict=True):
        if is_player(folder):
            show.line(f"serve: loading {folder}")
            players[name] = ServedPlayer(name, folder)
        else:
            speaking_folders.append(folder)
    every = load_many(speaking_folders, lambda path: show.line(f"serve: loading {path}"))
    speaking = [
        loaded.network
        for loaded, scalar in every
        if scalar is None and not isinstance(loaded.network, Encoder)
    ]
    packed = PackedWeights(speaking, config.precision)
    named = zip(name_all(config.base), config.base, strict=True)
    names = [name for name, _ in named if name not in players]
    for name, (loaded, scalar) in zip(names, every, strict=True):
        if scalar is not None:
            rewards[name] = ServedReward(name, loaded, scalar)
            continue
        if isinstance(loaded.network, Encoder):
            encoders[name] = ServedEncoder(name, loaded, config.queue, config.threads)
            continue
        positions = config.context or min(loaded.network.config.context, POSITIONS)
        models[name] = serve_model(
            name,
            loaded,
            slots=config.slots,
            queue_rows=config.queue,
            positions=positions,
            precision=config.precision,
            threads=config.threads,
            packed=packed,
        )
    if not models and not encoders and not players:
        raise UserError(
            f"{', '.join(map(str, config.base))} scores texts and writes none: give a model that "
            "speaks beside it."
        )
    return ServedModels(models, rewards, encoders, players)


def name_all(folders: Sequence[Path]) -> list[str]:
    """What each is called: by its last part, or as it was given where two have the same."""
    short = [folder.stem if folder.suffix == ".gguf" else folder.name for folder in folders]
    return [
        str(folder) if short.count(name) > 1 or not name else name
        for folder, name in zip(folders, short, strict=True)
    ]


def tell_start(config: ServeConfig, served: ServedModels, port: int, show: Show) -> None:
    """Address, models, slots, memory, and what to type next."""
    host = f"[{config.host}]" if ":" in config.host.strip("[]") else config.host
    told: set[int] = set()  # where tensors begin: those that are shared are counted once
    for one in served.models.values():
        own = {w.data_ptr(): w.nbytes for w in one.network.parameters()}
        weights = sum(size for place, size in own.items() if place not in told)
        told |= own.keys()
        shared = ", the rest shared" if weights < sum(own.values()) else ""
        show.line(
            f"serve: {one.name}: {one.loop.slots} slots of {one.positions:,} tokens, "
            f"{config.precision}, weights {weights / 1e6:,.1f} MB{shared}, KV cache up to "
            f"{one.loop.engine.cache_bytes / 1e6:,.1f} MB"
        )
    for reward in served.rewards.values():
        show.line(f"serve: {reward.name}: a reward model, which scores answers on the page")
    for encoder in served.encoders.values():
        show.line(
            f"serve: {encoder.name}: an encoder of texts of up to {encoder.positions:,} tokens, "
            "for /v1/embeddings"
        )
    for player in served.players.values():
        show.line(f"serve: {player.name}: plays {player.game.name} on the page")
    if config.memory is not None:
        show.line(f"serve: the chat remembers in {config.memory}")
    where = f"http://{host}:{port}"
    if served.players and not served.models:
        show.line(f"serve: listening at {where}: a page to play on")
        return
    if not served.models:
        show.line(f"serve: listening at {where}/v1; try curl {where}/v1/models")
        return
    show.line(f"serve: listening at {where}: a page for people, {where}/v1 for clients")
    show.line(f"serve: try curl {where}/v1/models, or {write_command('chat', config.base[0])}")
