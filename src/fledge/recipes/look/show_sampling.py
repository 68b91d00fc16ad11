"""`fledge show sampling`: what temperature, top-k, nucleus, min-p and penalties do to the
distribution of one next token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from fledge.engine.request import Request
from fledge.engine.row import NOT_FINITE
from fledge.engine.stages import Stage, list_stages
from fledge.errors import UserError
from fledge.hub.folder import load_model
from fledge.log_prob import PLAIN, Decoding
from fledge.recipes.family_field import FamilyField
from fledge.recipes.look.context import encode_context
from fledge.report.show_page import check_show_page, write_show_page
from fledge.report.show_sampling import draw_sampling
from fledge.runs.show import Show
from fledge.text.spelling import name_tokens

# Made up, for a page without a model: how likely each word is after "the cat sat on the".
WORDS = {
    "mat": 0.26, "floor": 0.15, "sofa": 0.11, "bed": 0.085, "roof": 0.065, "table": 0.055,
    "chair": 0.05, "cat": 0.045, "windowsill": 0.04, "grass": 0.033, "edge": 0.026, "dog": 0.02,
    "moon": 0.016, "sat": 0.012, "piano": 0.01, "the": 0.008, "on": 0.006, "hypotenuse": 0.004,
    "lay": 0.003, "a": 0.002,
}  # fmt: skip
PROMPT, SAID = "the cat sat on the", "a mat lay on the floor the cat sat on the"


class ShowSamplingConfig(FamilyField):
    """Draw what each rule of sampling does to the distribution of one next token: of a model after
    a prompt, or of twenty words that are built in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: Path | None = Field(
        default=None, description="a run or model folder; none: twenty words with made-up chances"
    )
    prompt: str = Field(default="", description="what the model is given (with base)")
    said: str = Field(
        default="", description="what it has answered so far, which is penalised (with base)"
    )
    raw: bool = Field(
        default=False, description="the prompt as running text, without the chat template"
    )
    temperature: float = Field(default=0.7, ge=0, description="0 is greedy, 1 changes nothing")
    top_k: int = Field(default=12, ge=0, description="0 keeps every token")
    top_p: float = Field(default=0.9, gt=0, le=1, description="nucleus mass")
    min_p: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="drops tokens less than this times as likely as the likeliest",
    )
    repetition_penalty: float = Field(
        default=1.2,
        gt=0,
        description="divides positive logits of tokens that were there, multiplies negative ones",
    )
    presence_penalty: float = Field(
        default=0.5, description="taken from the logits of tokens that were said"
    )
    tokens: int = Field(default=20, ge=1, le=100, description="how many likely tokens are drawn")
    out: Path = Field(default=Path("sampling.html"), description="the page to write")


@dataclass(frozen=True)
class AskedDistribution:
    """One distribution and what came before it. raw [V]: logits, −∞ for what is no action."""

    raw: Tensor
    prompt: list[int]
    said: list[int]
    names: list[str]


def show_sampling(config: ShowSamplingConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a model that is not there, a prompt without one, and logits that are no
    numbers.
    """
    check_show_page(config.out)
    config.use_family()
    if config.base is None and (config.prompt or config.said):
        raise UserError(
            "prompt and said are for a model, and none was given: add base=RUN, or leave them out "
            "for the twenty words that are built in."
        )
    start = make_up() if config.base is None else ask(config, config.base)
    rule = Decoding(config.temperature, config.top_k, config.top_p, config.min_p)
    penalties = (config.repetition_penalty, config.presence_penalty)
    together = list_stages(start.raw, make_request(start, rule, penalties), start.said)
    alone = {
        name: list_stages(start.raw, make_request(start, part, these), start.said)[-1]
        for name, part, these in list_parts(rule, penalties)
    }
    if not all(each.probability.isfinite().all() for each in (*together, *alone.values())):
        raise UserError(NOT_FINITE)
    sweep = [0.1 * step for step in range(1, 21)]
    spread = [
        list_stages(start.raw, make_request(start, Decoding(t), (1.0, 0.0)))[-1].entropy
        for t in sweep
    ]
    shown = together[0].probability.topk(min(config.tokens, together[0].kept)).indices.tolist()
    page = draw_sampling(
        "twenty words" if config.base is None else str(config.base),
        config.prompt if config.base else PROMPT,
        [start.names[token] for token in shown],
        together,
        alone,
        shown,
        (sweep, spread),
    )
    write_show_page(config.out, page)
    tell(together, start.names, show)
    show.line(f"Page: {config.out}")
    return {
        "base": config.base and str(config.base),
        "stages": [as_json(stage, start.names, shown) for stage in together],
        "alone": {name: as_json(stage, start.names, shown) for name, stage in alone.items()},
        "page": str(config.out),
    }


def make_up() -> AskedDistribution:
    """The twenty words: logits are log-chances around their mean, as a model's are around 0."""
    if abs(sum(WORDS.values()) - 1) > 1e-9:
        raise AssertionError("the made-up chances are to sum to 1")
    number = {word: i for i, word in enumerate(WORDS)}
    logits = torch.tensor(list(WORDS.values())).log()
    prompt, said = ([number[w] for w in text.split() if w in number] for text in (PROMPT, SAID))
    return AskedDistribution(logits - logits.mean(), prompt, said, list(WORDS))


def ask(config: ShowSamplingConfig, base: Path) -> AskedDistribution:
    """What the model would say next, after the prompt and what it has said."""
    model = load_model(base)
    policy, said = model.policy(), model.tokenizer.encode(config.said)
    prompt = encode_context(model, config.prompt, raw=config.raw)
    room = model.network.config.context - len(prompt)
    if len(said) > room:
        raise UserError(f"said= is {len(said):,} tokens, where {room:,} fit: give less.")
    with torch.no_grad():
        hidden = policy.hidden(torch.tensor([[*prompt, *said]]))[:, -1]
        raw = policy.logits(hidden)[0]
    if not raw.logsumexp(-1).isfinite():
        raise UserError(
            f"{base} gives logits that are no finite numbers: its weights overflow, or hold values "
            "that are none. Use a run from before that."
        )
    return AskedDistribution(raw, prompt, said, name_tokens(model.tokenizer, len(raw)))


def make_request(
    start: AskedDistribution, rule: Decoding, penalties: tuple[float, float]
) -> Request:
    return Request(
        start.prompt, rule=rule, repetition_penalty=penalties[0], presence_penalty=penalties[1]
    )


def list_parts(
    rule: Decoding, penalties: tuple[float, float]
) -> list[tuple[str, Decoding, tuple[float, float]]]:
    """Each rule that does anything, without the others."""
    repetition, presence = penalties
    parts = []
    if rule.temperature != 1:
        name = f"temperature {rule.temperature:g}"
        parts.append((name, Decoding(temperature=rule.temperature), (1.0, 0.0)))
    if rule.top_k:
        parts.append((f"top-k {rule.top_k}", Decoding(top_k=rule.top_k), (1.0, 0.0)))
    if rule.top_p < 1:
        parts.append((f"nucleus {rule.top_p:g}", Decoding(top_p=rule.top_p), (1.0, 0.0)))
    if rule.min_p:
        parts.append((f"min-p {rule.min_p:g}", Decoding(min_p=rule.min_p), (1.0, 0.0)))
    if repetition != 1:
        parts.append((f"repetition penalty {repetition:g}", PLAIN, (repetition, 0.0)))
    if presence:
        parts.append((f"presence penalty {presence:g}", PLAIN, (1.0, presence)))
    return parts


def as_json(stage: Stage, names: list[str], shown: list[int]) -> dict[str, Any]:
    """A stage in numbers: its figures, and the chance of each token that is drawn."""
    return {
        "name": stage.name,
        "tokens": stage.kept,
        "removed": stage.removed,
        "entropy": stage.entropy,
        "probability": [[names[token], float(stage.probability[token])] for token in shown],
    }


def tell(stages: list[Stage], names: list[str], show: Show) -> None:
    """A line a stage: the figures, and the likeliest token."""
    for stage in stages:
        best = int(stage.probability.argmax())
        show.line(
            f"{stage.name:<16} {stage.kept:6,} tokens, {stage.removed:6.1%} taken out, entropy "
            f"{stage.entropy:.2f} nats; likeliest: {names[best]} {stage.probability[best]:.1%}"
        )
