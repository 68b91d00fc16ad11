"""An answer token by token: the log-probability that the model gives each, as the trainer computes
it, what else could have stood there, and what another model gives the same token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fledge.hub.folder import Loaded
from fledge.policy import TokenPolicy
from fledge.serve.api_errors import ApiError
from fledge.serve.conversation import encode_chat, read_messages
from fledge.serve.encoding import check_messages, check_size, count_characters
from fledge.serve.served import Served, ServedReward
from fledge.serve.spoken import bound
from fledge.serve.wire import Body, Name
from fledge.text.chat import render
from fledge.trajectories import Trajectories, from_rows

ALTERNATIVES = 8
CHUNK = 256  # positions whose logits exist at a time


class TokensBody(Body):
    """tokens: what was said, as ids; or answer: as text. against: another model's name."""

    messages: list[dict[str, Any]] = Field(min_length=1, max_length=10_000)
    tokens: list[int] | None = Field(None, min_length=1)
    answer: str | None = Field(None, min_length=1)
    against: Name | None = None


class ScoreBody(Body):
    """messages: the prompt, and the answer as the last one."""

    messages: list[dict[str, Any]] = Field(min_length=2, max_length=10_000)
    reward_model: Name


@dataclass(frozen=True)
class Scored:
    """logp: [T], of each token at temperature 1 over all that are actions. top, top_logp: [T, K],
    the likeliest first.
    """

    logp: Tensor
    top: Tensor
    top_logp: Tensor


class TokenWords:
    """How tokens are shown: text where the bytes of one are text, escapes where they are not."""

    def __init__(self, served: Served) -> None:
        self._words, self._ends = served.words, served.tokenizer.ends

    def show(self, token: int, logp: float) -> dict[str, Any]:
        word = self._words[token]
        try:
            text = word.decode()
        except UnicodeDecodeError:
            text = "".join(f"\\x{byte:02x}" for byte in word)
        end = token in self._ends
        return {"id": token, "text": text, "logp": bound(logp), "end": end}


def open_tokens(
    body: TokensBody, served: Served, other: Served | None
) -> tuple[list[int], list[int]]:
    """The prompt, and the tokens of the answer. Raises ApiError for what cannot be measured.

    other: the model that the answer is measured against, of the same vocabulary.
    """
    messages = read_messages(body.messages)
    check_messages(served, messages)
    prompt = encode_chat(served.tokenizer, messages)
    said = read_said(body, served)
    for one in (served, other):
        if one is not None and len(prompt) + len(said) > one.network.config.context:
            raise ApiError(
                400,
                f"prompt and answer have {len(prompt) + len(said):,} tokens, and the context of "
                f"{one.name} is {one.network.config.context:,}.",
                code="context_length_exceeded",
            )
    return prompt, said


def tell_tokens(
    said: Sequence[int], own: Scored, against: Scored | None, words: TokenWords
) -> list[dict[str, Any]]:
    """Each token that was said, as the page shows it.

    against: what the other model gives it. Under its own template that might have been asked in
    other words: it is the tokens of one prompt that both are asked about.
    """
    tokens: list[dict[str, Any]] = []
    for place, (token, logp) in enumerate(zip(said, own.logp.tolist(), strict=True)):
        best = zip(own.top[place].tolist(), own.top_logp[place].tolist(), strict=True)
        tokens.append(
            words.show(token, logp)
            | {
                "against": None if against is None else bound(float(against.logp[place])),
                "top": [words.show(*each) for each in best if each[1] > float("-inf")],
            }
        )
    return tokens


def read_said(body: TokensBody, served: Served) -> list[int]:
    """The tokens of the answer. Raises ApiError."""
    if (body.tokens is None) == (body.answer is None):
        raise ApiError(400, "give `tokens`, the ids that were said, or `answer`, their text.")
    check_size(served, len(body.answer or ""), "answer")
    said = served.tokenizer.encode(body.answer) if body.answer is not None else body.tokens
    if not said or any(not 0 <= token < served.vocab_size for token in said):
        raise ApiError(
            400,
            f"`tokens` has an id beyond the {served.vocab_size:,} of the model, or none at all.",
            param="tokens",
        )
    return said


def score_tokens(served: Served, prompt: Sequence[int], said: Sequence[int]) -> Scored:
    """log π of each token that was said after the prompt, and of the likeliest ones there."""
    policy = served.loaded.policy()
    device = policy.network.unembedding.device
    row = torch.tensor([[*prompt, *said]], device=device)
    hidden = policy.hidden(row[:, :-1])[0, len(prompt) - 1 :]  # [T, D]
    action = row[0, len(prompt) :]
    parts = zip(hidden.split(CHUNK), action.split(CHUNK), strict=True)
    scored = [score_part(policy, *part) for part in parts]
    return Scored(*(torch.cat(each) for each in zip(*scored, strict=True)))


def score_part(policy: TokenPolicy, hidden: Tensor, action: Tensor) -> tuple[Tensor, ...]:
    logp = policy.logits(hidden).log_softmax(-1)  # [T, V]
    top_logp, top = logp.topk(min(ALTERNATIVES, logp.shape[-1]), dim=-1)
    return logp.gather(-1, action[:, None])[:, 0], top, top_logp


def open_answer(body: ScoreBody, judge: ServedReward) -> Trajectories:
    """The row that a reward model reads. Raises ApiError."""
    turns: list[Any] = list(read_messages(body.messages))
    if turns[-1]["role"] != "assistant":
        raise ApiError(400, "the last message is no answer of the assistant's.", param="messages")
    context = judge.loaded.network.config.context
    longest = context * max(map(len, judge.loaded.tokenizer.vocabulary))
    if count_characters(turns) > longest:  # nothing so long could fit
        raise ApiError(
            400, f"the messages are too long for {judge.name}.", code="context_length_exceeded"
        )
    row, own = render(judge.loaded.tokenizer, turns)
    if len(row) > context:
        raise ApiError(
            400,
            f"prompt and answer have {len(row):,} tokens, and the context of {judge.name} is "
            f"{context:,}.",
            code="context_length_exceeded",
        )
    return from_rows([row], [own])


def score_answer(judge: ServedReward, batch: Trajectories) -> float:
    """r(x, y), scaled as `fledge.load_reward_model` scales it."""
    mean, std = read_scale(judge.loaded)
    return (float(judge.model.score(batch.obs, batch.last())) - mean) / std


def read_scale(loaded: Loaded) -> tuple[float, float]:
    """Mean and standard deviation of the answers that it was trained on."""
    scale = loaded.config.get("fledge_reward", {"mean": 0.0, "std": 1.0})
    return float(scale["mean"]), float(scale["std"])
