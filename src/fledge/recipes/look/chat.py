"""`fledge chat`: a conversation in the terminal, words appearing as they are chosen."""

from __future__ import annotations

import codecs
import io
import sys
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, Field

from fledge.engine.engine import Engine
from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.log_prob import Decoding
from fledge.recipes.family_field import FamilyField
from fledge.recipes.look.sound_model import load_sound_model
from fledge.runs.show import Show
from fledge.sample.generate import generate
from fledge.seeds import generator_for
from fledge.text.chat import Conversation, render


class ChatConfig(FamilyField):
    """Talk to a model. An empty line or Ctrl-D ends; /new forgets what was said."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: Path = Field(description="the run or model folder to talk to")
    system: str | None = Field(default=None, description="what stands before the conversation")
    memory: bool = Field(
        default=False,
        description=(
            "keep earlier turns in the context (for models tuned on conversations of several turns)"
        ),
    )
    max_new_tokens: int = Field(default=256, ge=1, description="of an answer")
    temperature: float = Field(default=0.0, ge=0, description="0 is greedy")
    top_k: int = Field(default=0, ge=0, description="0 keeps every token")
    top_p: float = Field(default=1.0, gt=0, le=1, description="nucleus mass")
    min_p: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="drops tokens less than this times as likely as the likeliest",
    )
    seed: int = Field(default=0, ge=0, description="of the draws")


def chat(config: ChatConfig, show: Show) -> dict[str, Any]:
    """Reads lines from standard input, so a pipe can talk too. Raises UserError for what is no
    model, and for one whose weights are no numbers.
    """
    config.use_family()
    model = load_sound_model(config.base)
    policy = model.policy().with_rule(
        Decoding(config.temperature, config.top_k, config.top_p, config.min_p)
    )
    # An answer goes on from what the last one left in the prefix cache.
    engine = Engine(policy, slots=1, prefix_cache_rows=1)
    generator = generator_for(config.seed, "samples")
    interactive = sys.stdin.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper):
        # a byte that is not UTF-8 spoils its character, not the conversation
        sys.stdin.reconfigure(errors="replace")
    if interactive:
        show.line(
            f"{config.base}: write a line and press Enter. An empty line ends, /new starts afresh."
        )
        if not config.memory:
            show.line("Each line stands alone; memory=true keeps the conversation.")
    opening: Conversation = [{"role": "system", "content": config.system}] if config.system else []
    turns: Conversation = list(opening)
    spoken: Conversation = list(opening)
    while True:
        if interactive:
            show.say("> ")
        line = sys.stdin.readline()
        if not line.strip():
            break
        if line.strip() == "/new":
            turns = list(opening)
            continue
        if not config.memory:
            turns = list(opening)
        turns.append({"role": "user", "content": line.rstrip("\n")})
        try:
            turns = drop_oldest(model, turns, len(opening))
            turns.append(
                {
                    "role": "assistant",
                    "content": answer(engine, model, turns, config, generator, show),
                }
            )
        except UserError as error:  # one line that cannot be answered does not end the conversation
            show.line(str(error))
            turns = list(opening)
            continue
        spoken += turns[-2:]
    return {"base": str(config.base), "messages": spoken}


def drop_oldest(model: Loaded, turns: Conversation, opening: int) -> Conversation:
    """Without the oldest exchanges, where the conversation has outgrown the context."""
    context = model.network.config.context
    while (
        len(turns) - opening > 2 and len(render(model.tokenizer, turns, reply=True)[0]) >= context
    ):
        turns = turns[:opening] + turns[opening + 2 :]
    return turns


def answer(
    engine: Engine,
    model: Loaded,
    turns: Conversation,
    config: ChatConfig,
    generator: torch.Generator,
    show: Show,
) -> str:
    """One answer, printed as it comes: bytes wait until they are whole characters."""
    tokenizer = model.tokenizer
    prompt, _ = render(tokenizer, turns, reply=True)
    characters = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def appear(row: int, token: int) -> None:
        show.say(characters.decode(tokenizer.decode_bytes([token])))

    [completion] = generate(
        engine.policy, [prompt], max_new_tokens=config.max_new_tokens, stop=tokenizer.ends,
        generator=generator, on_token=appear, engine=engine,
    )  # fmt: skip
    show.line(characters.decode(b"", final=True))
    return tokenizer.decode(completion.tokens)
