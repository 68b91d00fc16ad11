"""vLLM's form of the OpenAI completions protocol: what a request becomes on the wire, and what a
reply says.
"""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any, Literal

import numpy as np

from fledge.engine.request import PROCESSED, Completion, Ended, Feature, Request, Way
from fledge.errors import UserError

Logprobs = Literal["raw", "processed"]

BIAS = 100.0  # vLLM cuts biases to ±100 without a word
NOTHING = -9999.0  # how vLLM writes log 0, which JSON cannot

OUTSIDE = Way(
    "an outside server",
    frozenset(
        {
            Feature.MIN_NEW_TOKENS,
            Feature.RULE,
            Feature.STOP_STRINGS,
            Feature.REPETITION_PENALTY,
            Feature.PRESENCE_PENALTY,
            Feature.FREQUENCY_PENALTY,
            Feature.LOGIT_BIAS,
            Feature.ALTERNATIVES,
            # No constraint: a server's own grammars and patterns do not always allow the same.
        }
    ),
    instead="use fledge's own engine",
)


def build_body(
    request: Request, model: str, context: int, logprobs: Logprobs, stream: bool
) -> dict[str, Any]:
    """What is sent: every field that shapes the distribution, so that no default of the server
    counts. Raises UserError.

    logprobs: what the server reports.
    """
    finite = [bias for bias in request.logit_bias.values() if bias != -math.inf]
    if beyond := [bias for bias in finite if abs(bias) > BIAS]:
        raise UserError(
            f"a logit_bias of {beyond[0]} was given: an outside server takes −100 to 100, or −∞."
        )
    if request.alternatives and logprobs == "processed" and not is_unaltered(request):
        raise UserError(
            "alternatives were asked for under a rule that changes the distribution, and the "
            "server reports processed log-probabilities: start it with --logprobs-mode "
            "raw_logprobs, or leave alternatives out."
        )
    rule, room = request.rule, min(request.max_new_tokens, context - len(request.prompt))
    return {
        "model": model,
        "prompt": [int(token) for token in request.prompt],
        "max_tokens": room,
        # Without a stop token it would only silence the model's own end token, which ignore_eos
        # makes an ordinary one.
        "min_tokens": min(request.min_new_tokens, room) if request.stop else 0,
        "temperature": 0.0 if rule.greedy else rule.temperature,
        "top_k": rule.top_k,  # 0 is off there too
        "top_p": rule.top_p,
        "min_p": rule.min_p,
        "repetition_penalty": request.repetition_penalty,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "logit_bias": {
            str(int(token)): max(bias, -BIAS) for token, bias in request.logit_bias.items()
        },
        "stop": list(request.stop_strings),
        "stop_token_ids": sorted(int(token) for token in request.stop),
        "ignore_eos": True,  # only what the request names ends the row
        "seed": derive_seed(request),
        "logprobs": request.alternatives,  # besides that of the token said
        "return_tokens_as_token_ids": True,
        "stream": stream,
    }


def is_unaltered(request: Request) -> bool:
    """Whether what is sampled is the model's own distribution, under which raw and processed
    log-probabilities are one.
    """
    altering = request.asks() & (PROCESSED | {Feature.RULE})
    if not request.stop:
        altering -= {Feature.MIN_NEW_TOKENS}  # there is none to keep from being said
    return not altering


def derive_seed(request: Request) -> int:
    """One seed for the pair that a fledge row is drawn with: seed and sample. In [0, 2⁶³), since
    the server's is signed.
    """
    return int(np.random.Philox(key=[request.seed, request.sample]).random_raw()) >> 1


class Reply:
    """What the server has said to one request, piece by piece of a stream; a plain reply is one
    piece.
    """

    def __init__(self, request: Request, vocab_size: int) -> None:
        self.request, self.vocab_size = request, vocab_size
        self.tokens: list[int] = []
        self.chance: list[float] = []  # log-probability of each, as the server reports it
        self.alternatives: list[list[tuple[int, float]]] = []
        self.reason: str | None = None
        self.stop_reason: int | str | None = None

    def take(self, piece: Any) -> list[int]:
        """The piece's tokens. Raises UserError."""
        if isinstance(piece, dict) and piece.get("error") is not None:
            raise UserError(f"the server failed: {read_message(json.dumps(piece).encode())}")
        try:
            if not piece["choices"]:  # counts of tokens, at the end of some streams
                return []
            choice = piece["choices"][0]
            told = choice["logprobs"]
            tokens = [_parse_token(name) for name in told["tokens"]]
            chance = [_parse_log(value) for value in told["token_logprobs"]]
            wanted = self.request.alternatives
            best = [_rank(top, wanted) for top in told["top_logprobs"]] if wanted else []
            if not len(tokens) == len(chance) == (len(best) if wanted else len(tokens)):
                raise ValueError("lists of unequal length")
            self.reason, self.stop_reason = choice["finish_reason"], choice.get("stop_reason")
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"the server's reply lacks token ids or their log-probabilities ({error!r}): it "
                "must know `logprobs` with `return_tokens_as_token_ids`, as vLLM does."
            ) from None
        self.check_known(tokens)
        self.tokens += tokens
        self.chance += chance
        self.alternatives += best
        return tokens

    def check_known(self, tokens: list[int]) -> None:
        """Raises UserError for a token of another vocabulary."""
        if unknown := [token for token in tokens if not 0 <= token < self.vocab_size]:
            raise UserError(
                f"the server said token {unknown[0]}, outside the vocabulary of {self.vocab_size}: "
                "it serves another model, or `vocab_size` is wrong."
            )

    def complete(self, logprobs: Logprobs, version: int) -> Completion:
        request, same = self.request, is_unaltered(self.request)
        unknown = [math.nan] * len(self.tokens)
        logp = self.chance if same or logprobs == "processed" else unknown
        if request.rule.greedy:
            logp = [0.0] * len(self.tokens)
        raw_logp = self.chance if same or logprobs == "raw" else unknown
        return Completion(
            list(request.prompt),
            self.tokens,
            logp,
            self._name_end(),
            raw_logp,
            self.alternatives,
            version,
        )

    def _name_end(self) -> Ended:
        if self.reason == "stop" and self.tokens and self.tokens[-1] in self.request.stop:
            return "stop"
        if self.reason == "stop" and self.stop_reason in self.request.stop_strings:
            return "stop_string"
        if self.reason == "length" and self.tokens:
            return "length"
        raise UserError(
            f"the server ended the row for a reason of its own (finish_reason={self.reason!r}, "
            f"stop_reason={self.stop_reason!r}): see its log, or start it with --generation-config "
            "vllm."
        )


def _parse_token(name: str) -> int:
    """17 of "token_id:17". A token spelled out is refused: several ids may be spelled alike."""
    kind, _, number = name.partition(":")
    if kind != "token_id":
        raise ValueError(f"token {name!r}")
    return int(number)


def _parse_log(value: float) -> float:
    return float(value) if value > NOTHING else -math.inf


def _rank(top: dict[str, float], count: int) -> list[tuple[int, float]]:
    """The likeliest first; the token said, which the server adds where it is not among them, left
    out.
    """
    pairs = [(_parse_token(name), _parse_log(value)) for name, value in top.items()]
    return sorted(pairs, key=lambda pair: -pair[1])[:count]


def parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(
            f"the server's reply is no JSON ({text[:80]!r}): is this vLLM's URL?"
        ) from None


def read_message(text: bytes) -> str:
    """What is wrong, in the server's words."""
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
        reply = json.loads(text)
        return str(reply.get("error", reply)["message"])
    return text[:200].decode(errors="replace")
