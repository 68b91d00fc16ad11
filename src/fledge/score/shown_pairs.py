"""Pairs of what somebody has shown to be good and what a reference says itself to the same prompt:
all that maximum-entropy inverse reinforcement learning needs of text.

Who wants r(x, y), and goes from π_ref no farther than it takes, answers as π_ref exp(r/β)/Z(x)
(maximum entropy: Ziebart et al. 2008). Of one answer of theirs, y, and one of the reference's, y′,
the first is then theirs with chance σ(r(x, y)/β − r(x, y′)/β): so the pairwise logistic loss over
such pairs is least where the score is r/β up to a number for each prompt (noise contrast: Gutmann &
Hyvärinen 2012, theorem 1; by ranking: Ma & Collins 2018). Nobody has to prefer anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fledge.policy import TokenPolicy
from fledge.sample.generate import Completion, generate
from fledge.score.task_pairs import make_row
from fledge.seeds import generator_for
from fledge.splits import Split
from fledge.text.packed import Pair, TokenRow
from fledge.text.tokenizer import Tokenizer

AT_A_TIME = 256  # prompts the reference answers


@dataclass(frozen=True)
class ShownPairs:
    """reference: who answers. samples: of its answers to each prompt, a pair each."""

    reference: TokenPolicy
    tokenizer: Tokenizer
    samples: int
    max_new_tokens: int
    seed: int

    def make(self, shown: Sequence[TokenRow], split: Split) -> list[Pair]:
        """Each demonstration beside as many answers of the reference's; equal ones too, which pull
        at nothing.
        """
        generator = generator_for(self.seed, "samples", split)
        context = self.reference.network.config.context
        pairs: list[Pair] = []
        for a in range(0, len(shown), AT_A_TIME):
            rows = [keep_last(row) for row in shown[a : a + AT_A_TIME]]
            prompts = [ids[: own.index(True)] for ids, own in rows]
            room = context - max(map(len, prompts))
            said: list[Completion] = generate(
                self.reference, prompts, max_new_tokens=min(self.max_new_tokens, room),
                stop=self.tokenizer.ends, generator=generator, samples=self.samples,
            )  # fmt: skip
            pairs += [
                (rows[i // self.samples], make_row(completion)) for i, completion in enumerate(said)
            ]
        return pairs


def keep_last(row: TokenRow) -> TokenRow:
    """The same tokens, of which the last answer alone is marked."""
    ids, own = row
    end = len(own) - own[::-1].index(True)
    begin = end
    while begin and own[begin - 1]:
        begin -= 1
    return ids[:end], [begin <= i < end for i in range(end)]


def count_longer(shown: Sequence[TokenRow], most: int) -> int:
    """How many have an answer of more tokens than the reference may say."""
    return sum(sum(keep_last(row)[1]) > most for row in shown)
