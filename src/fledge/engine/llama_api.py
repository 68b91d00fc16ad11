"""llama.cpp's own completion protocol (`POST /completion`, tools/server/README.md there): what a
request becomes on the wire, and what a reply says.

Its OpenAI form has no token ids; this one takes and gives them. The samplers are named in fledge's
order, so that a rule means the same there.
"""

from __future__ import annotations

import math
from typing import Any

from fledge.engine.completions_api import Logprobs, Reply, derive_seed, is_unaltered
from fledge.engine.request import Feature, Request, Way
from fledge.errors import UserError

LLAMA = Way(
    "llama.cpp's server",
    frozenset({Feature.RULE, Feature.LOGIT_BIAS}),
    instead="use fledge's own engine",
)


def build_llama_body(
    request: Request, model: str, context: int, logprobs: Logprobs, stream: bool
) -> dict[str, Any]:
    """What is sent, as `build_body` has it. Raises UserError for what the protocol does not know.

    logprobs: of no account, the request itself asks for those of what is sampled. stream: of none
    either, the reply comes in one piece.
    """
    LLAMA.refuse_unknown(request)
    rule = request.rule
    return {
        "model": model,
        "prompt": [int(token) for token in request.prompt],
        "n_predict": min(request.max_new_tokens, context - len(request.prompt)),
        "samplers": ["temperature", "top_k", "top_p", "min_p"],
        "temperature": 0.0 if rule.greedy else rule.temperature,
        "top_k": rule.top_k,
        "top_p": rule.top_p,
        "min_p": rule.min_p,
        "repeat_penalty": 1.0,
        "logit_bias": [
            [int(token), False if bias == -math.inf else bias]
            for token, bias in request.logit_bias.items()
        ],
        "seed": derive_seed(request) % 2**32,
        "n_probs": 1,  # whatever their number, that of the token said is among them
        "post_sampling_probs": not is_unaltered(request),
        "return_tokens": True,
        "stream": False,
    }


class LlamaReply(Reply):
    """What llama.cpp has said to one request.

    Of a token that ends within a character it says no probability, and of the next whole one that
    of its last token: a row in which that happens has none at all (NaN), for which belongs to which
    cannot be told.
    """

    def take(self, piece: Any) -> list[int]:
        try:
            tokens = [int(token) for token in piece["tokens"]]
            told = piece.get("completion_probabilities", [])  # none: of no token is it known
            scored = [(int(each["id"]), read_log(each)) for each in told]
            evaluated, ended = int(piece["tokens_evaluated"]), str(piece["stop_type"])
            room = int(piece["generation_settings"]["n_predict"])
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"the server's reply lacks token ids or their probabilities ({error!r}): is it "
                "llama.cpp's, of 2025 or later?"
            ) from None
        if evaluated != len(self.request.prompt):
            raise UserError(
                f"the server read {evaluated} tokens of a prompt of {len(self.request.prompt)}: it "
                "serves another model, or puts tokens of its own before a prompt."
            )
        whole = [token for token, _ in scored] == tokens
        chance = [log for _, log in scored] if whole else [math.nan] * len(tokens)
        # A token that ends the row here and not there: what came after it was never said.
        place = next((i for i, token in enumerate(tokens) if token in self.request.stop), None)
        if place is not None:
            tokens, chance, ended = tokens[: place + 1], chance[: place + 1], "stop"
        if ended == "limit" and len(tokens) < room:
            raise UserError(
                f"the server ended a row after {len(tokens)} of {room} tokens: start it with a "
                "longer context for each slot."
            )
        self.check_known(tokens)
        self.tokens, self.chance = tokens, chance
        self.reason = {"limit": "length"}.get(ended, ended)
        return tokens


def read_log(each: dict[str, Any]) -> float:
    """Of a probability, as it is told of a distribution after its samplers, or of its logarithm."""
    if "logprob" in each:
        return float(each["logprob"])
    return math.log(each["prob"]) if each["prob"] > 0 else -math.inf
