"""What the token engine is asked, and what it answers: token ids in, token ids out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fledge.errors import UserError
from fledge.log_prob import PLAIN, Decoding

if TYPE_CHECKING:
    from fledge.engine.constraint import Constraint

Ended = Literal["stop", "stop_string", "length", "cancelled", "error"]


class Feature(Enum):
    """What a request may ask and not every way of answering knows, each by the name of its field in
    `Request`.
    """

    MIN_NEW_TOKENS = "min_new_tokens"
    RULE = "rule"
    STOP_STRINGS = "stop_strings"
    REPETITION_PENALTY = "repetition_penalty"
    PRESENCE_PENALTY = "presence_penalty"
    FREQUENCY_PENALTY = "frequency_penalty"
    LOGIT_BIAS = "logit_bias"
    CONSTRAINT = "constraint"
    ALTERNATIVES = "alternatives"


# The features that need the logits of the row processed one by one, before its rule.
PROCESSED = frozenset(
    {
        Feature.MIN_NEW_TOKENS,
        Feature.REPETITION_PENALTY,
        Feature.PRESENCE_PENALTY,
        Feature.FREQUENCY_PENALTY,
        Feature.LOGIT_BIAS,
        Feature.CONSTRAINT,
    }
)

# The fields that are no feature: whatever answers requests knows them.
PLAIN_FIELDS = frozenset({"prompt", "max_new_tokens", "stop", "seed", "sample"})


@dataclass(frozen=True)
class Way:
    """A way of answering requests, and what of them it knows."""

    name: str
    knows: frozenset[Feature]
    instead: str = "use the engine"  # for what it does not know

    def refuse_unknown(self, request: Request) -> None:
        """Raises UserError for what it would have to ignore."""
        unknown = request.asks() - self.knows
        # In the order of the fields, so that the sentence is the same each time.
        for feature in (feature for feature in Feature if feature in unknown):
            raise UserError(
                f"{feature.value} was given, which {self.name} does not know: leave it out, or "
                f"{self.instead}."
            )


@dataclass(frozen=True)
class Request:
    """One row to be continued. Every field is this row's own: its neighbours may have others.

    Order of the logits processors: logit_bias; repetition, presence and frequency penalty; no stop
    token before min_new_tokens; the constraint; then `rule`: temperature, top-k, nucleus, min-p.
    """

    prompt: Sequence[int]
    max_new_tokens: int = 128
    # Before these no stop token is said; a stop string may still end the row.
    min_new_tokens: int = 0
    rule: Decoding = PLAIN
    stop: frozenset[int] = frozenset()  # tokens that end the row; said, and part of it
    stop_strings: tuple[str, ...] = ()  # text that ends the row, wherever token borders fall
    # Keskar et al. 2019, §4.1: logits of tokens seen, prompt included, / θ if positive, · θ if not
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0  # taken from the logits of tokens said in this completion
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    frequency_penalty: float = 0.0  # as the presence penalty, once for each time it was said
    constraint: Constraint | None = None
    alternatives: int = 0  # how many of the most likely tokens to report at each step
    seed: int = 0
    sample: int = 0  # which of several samples with one seed

    def asks(self) -> set[Feature]:
        """What differs from its default. A field that is neither plain nor a feature is an error
        here, so that none can be added that a way of answering passes over in silence.
        """
        given = (
            one.name
            for one in fields(self)
            if one.name not in PLAIN_FIELDS and _differs(getattr(self, one.name), one)
        )
        return {Feature(name) for name in given}

    def check(self, vocab_size: int, context: int, way: Way) -> None:
        """Raises UserError, in one sentence, for what cannot be answered, or not in this way."""
        self._check_values(vocab_size, context)
        way.refuse_unknown(self)

    def _check_values(self, vocab_size: int, context: int) -> None:
        if self.max_new_tokens < 1:
            raise UserError(
                f"max_new_tokens={self.max_new_tokens} was given: it must be 1 or more."
            )
        if not self.prompt:
            raise UserError("the prompt is empty: generation needs one token or more to continue.")
        if len(self.prompt) >= context:
            raise UserError(
                f"the prompt has {len(self.prompt)} tokens and the model's context is {context}: "
                "shorten the prompt, or train a model with a longer `context`."
            )
        unknown = [
            token
            for token in (*self.prompt, *self.stop, *self.logit_bias)
            if not 0 <= token < vocab_size
        ]
        if unknown:
            raise UserError(f"token {unknown[0]} is not in the vocabulary of {vocab_size} tokens.")
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise UserError(
                f"min_new_tokens={self.min_new_tokens} and max_new_tokens={self.max_new_tokens} "
                "contradict each other: the first must lie between 0 and the second."
            )
        if not 0 < self.repetition_penalty < float("inf"):
            raise UserError(
                f"repetition_penalty={self.repetition_penalty} was given: it must be above 0 (1 is "
                "none)."
            )
        for name in ("presence_penalty", "frequency_penalty"):
            if not abs(getattr(self, name)) < float("inf"):
                raise UserError(
                    f"{name}={getattr(self, name)} was given: it must be a finite number."
                )
        if any(bias != bias or bias == float("inf") for bias in self.logit_bias.values()):
            raise UserError(
                "a logit_bias is not a number, or +∞: give finite numbers, or −∞ to forbid a token."
            )
        if "" in self.stop_strings:
            raise UserError("an empty stop string was given: it would end every row at once.")
        if not 0 <= self.alternatives <= vocab_size:
            raise UserError(
                f"alternatives={self.alternatives} was given: it must lie between 0 and "
                f"{vocab_size}."
            )
        if not (0 <= self.seed < 2**64 and 0 <= self.sample < 2**64):
            raise UserError(
                f"seed={self.seed}, sample={self.sample} was given: both must lie between 0 and "
                "2^64 − 1."
            )
        if self.constraint is not None:
            self._check_constraint(self.constraint, vocab_size, context)

    def _check_constraint(self, constraint: Constraint, vocab_size: int, context: int) -> None:
        # A network may have more, to fill up its matrix: they are never said.
        if constraint.vocabulary.sayable > vocab_size:
            raise UserError(
                f"the constraint was made for {len(constraint.vocabulary)} tokens and the model "
                f"has {vocab_size}: make it with the model's own vocabulary."
            )
        if constraint.stop != self.stop:
            raise UserError(
                f"the stop tokens are {sorted(self.stop)} and those of the constraint "
                f"{sorted(constraint.stop)}: make the constraint with the stop tokens of the "
                "request."
            )
        room = min(self.max_new_tokens, context - len(self.prompt))
        if constraint.least > room:
            raise UserError(
                f"max_new_tokens={self.max_new_tokens} leaves room for {room} tokens, and every "
                "text that the constraint allows takes more: raise it, or allow a shorter text."
            )

    def draw_uniform(self, n: int) -> np.ndarray:
        """The numbers this row is drawn with, one a token.  [n] in [0, 1)"""
        return self.make_generator().random(n)

    def make_generator(self) -> np.random.Generator:
        """A pure function of seed and sample."""
        # An array, since a list with one of 2^63 or more would be rounded.
        key = np.array([self.seed, self.sample], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key))


def _differs(value: Any, one: Field[Any]) -> bool:
    """From the field's default. All that is empty is alike, be it a list where a tuple is meant."""
    default = one.default if one.default_factory is MISSING else one.default_factory()
    return value != default and bool(value or default)


@dataclass(frozen=True)
class Completion:
    """What one row added to its prompt. The stop token, where it came, is the last token: stopping
    is an action.
    """

    prompt: list[int]
    tokens: list[int]
    logp: list[float]  # under the distribution that was sampled; 0 where the rule is greedy
    ended: Ended
    # Under the model itself: temperature 1, over all that are actions.
    raw_logp: list[float] = field(default_factory=list)
    # The most likely tokens and their raw logp.
    alternatives: list[list[tuple[int, float]]] = field(default_factory=list)
    version: int = 0  # of the weights that said it, as `TokenPolicy.version` has it
    error: str | None = None  # what is wrong with the request, in one sentence

    @property
    def stopped(self) -> bool:
        """Whether the row came to an end of its own, and was not cut."""
        return self.ended in ("stop", "stop_string")
