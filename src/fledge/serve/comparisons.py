"""Pairs of answers that a person on the page is asked about, the most telling first: chosen by what
the posterior of a small reward, fitted to all that was said so far, makes of each (BALD), or by
chance.

What is said goes into the file of votes. Beside it lies VOTES.asked.jsonl with what no vote can
say: which pairs were skipped, and which the served model wrote. A server that is started again
reads both and goes on.
"""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from fledge.algorithms.likelihood.bradley_terry import RewardPosterior, fit_bradley_terry
from fledge.errors import UserError
from fledge.rows.census import Census, Reading, Unusable
from fledge.rows.preferences import SIDES, read_preference
from fledge.score.pair_choice import average_chances, choose_pairs
from fledge.score.pair_words import CommonWords, find_common_words
from fledge.seeds import generator_for
from fledge.serve.api_errors import ApiError
from fledge.serve.comparison_files import (
    Candidate,
    is_plain,
    name_pair,
    read_candidate,
    read_kept,
    read_source,
    strip,
)
from fledge.serve.votes import Messages, VoteFile
from fledge.serve.wire import Body, Name

Choice = Literal["bald", "random"]

PENALTY = 1.0  # of the reward's weights: their prior's deviation is 1


class CompareBody(Body):
    """choice: how the next pair is chosen."""

    choice: Choice = "bald"


class ComparedBody(Body):
    """pair: as it was named. preferred: the place of the better answer, None for neither."""

    pair: Name
    preferred: Literal[0, 1] | None = None
    choice: Choice = "bald"


@dataclass
class Tally:
    """Of pairs chosen in one way: how many were answered, and of how many the reward had foreseen
    what would be said.
    """

    answered: int = 0
    foreseen: int = 0


@dataclass(frozen=True)
class Known:
    """What was learned so far. d: [N, features], of each pair the first answer's less the
    second's.
    """

    words: CommonWords
    d: Tensor
    posterior: RewardPosterior


@dataclass
class Comparisons:
    """votes: where what is said goes. prompts: still without answers."""

    source: Path
    votes: VoteFile
    asked: VoteFile
    pairs: list[Candidate] = field(default_factory=list)
    prompts: list[Messages] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.place = {pair.key: i for i, pair in enumerate(self.pairs)}
        self.closed: set[str] = set()  # answered, or skipped
        self.said: list[tuple[str, str]] = []  # the better answer, and the other
        self.tallies: dict[Choice, Tally] = {"bald": Tally(), "random": Tally()}
        self.rounds = 0
        self.unanswerable = 0  # prompts that the served model has no room for
        self.lock, self.writing = threading.RLock(), asyncio.Lock()
        # Of all pairs, until there are more; of what was said, until more is.
        self._features: tuple[CommonWords, Tensor] | None = None
        self._posterior: RewardPosterior | None = None

    @property
    def open(self) -> list[int]:
        """The places of pairs that nobody was asked about."""
        return [i for i, pair in enumerate(self.pairs) if pair.key not in self.closed]

    def fit(self) -> Known:
        """To all that was said so far; which words are common, all pairs say that are here."""
        with self.lock:
            if self._features is None:
                given = [pair.answers for pair in self.pairs]
                words = find_common_words(given)
                self._features, self._posterior = (words, words.compare(given)), None
            words, d = self._features
            if self._posterior is None:
                self._posterior = fit_bradley_terry(words.compare(self.said), PENALTY)
            return Known(words, d, self._posterior)

    def learn(self, row: dict[str, Any]) -> None:
        """A row of the file of votes, from whichever view it came."""
        chosen, rejected = (row[side][0]["content"] for side in SIDES)
        with self.lock:
            self.said.append((chosen, rejected))
            self._posterior = None
            key = name_pair(row["prompt"], (chosen, rejected))
            self.closed.add(key)
            match row.get("metadata"):
                case {"chosen_by": "bald" | "random" as choice, "chance": float(chance)}:
                    self.tallies[choice].answered += 1
                    self.tallies[choice].foreseen += chance > 0.5

    def add(self, pair: Candidate) -> None:
        with self.lock:
            if pair.key in self.place:
                return
            self.place[pair.key] = len(self.pairs)
            self.pairs.append(pair)
            self._features = None

    def choose(self, choice: Choice) -> Candidate | None:
        """None where none is left."""
        with self.lock:
            left = self.open
            if not left:
                return None
            self.rounds += 1
            generator = generator_for(len(self.said), "noise", f"compare {self.rounds}")
            known, nothing = self.fit(), torch.zeros(0, dtype=torch.long)
            w = known.posterior
            [best] = choose_pairs(
                choice, known.d[left], w.mean, w.covariance, nothing, 1, generator
            ).tolist()
            return self.pairs[left[best]]

    def answer(self, body: ComparedBody) -> None:
        """Raises ApiError for a pair that there is not, or that is answered already."""
        with self.lock:
            place = self.place.get(body.pair)
            if place is None:
                raise ApiError(404, f"there is no pair {body.pair[:40]!r} here.", param="pair")
            if body.pair in self.closed:
                raise ApiError(409, "this pair is answered already: ask for the next one.")
            if body.preferred is None:
                self.asked.add({"skipped": body.pair})
                self.closed.add(body.pair)
                return
            row = self.make_row(self.pairs[place], body.preferred, body.choice)
            self.votes.add(row)
            self.learn(row)

    def make_row(self, pair: Candidate, preferred: Literal[0, 1], choice: Choice) -> dict[str, Any]:
        """As `fledge prefer` and `fledge reward` read it. chance: that the reward had given what
        was said, before it was.
        """
        sides = [pair.answers[preferred], pair.answers[1 - preferred]]
        known = self.fit()
        lead, spread = known.posterior.foretell(known.words.compare([(sides[0], sides[1])]))
        how: dict[str, Any] = {
            "chosen_by": choice, "chance": round(float(average_chances(lead, spread)[0]), 4)
        }  # fmt: skip
        for name, own in (("models", pair.models), ("seeds", pair.seeds)):
            if own is not None:
                how[name] = [own[preferred], own[1 - preferred]]
        spoken = [[{"role": "assistant", "content": side}] for side in sides]
        return {
            "prompt": pair.prompt, "chosen": spoken[0], "rejected": spoken[1], "metadata": how
        }  # fmt: skip

    def tell(self) -> dict[str, Any]:
        return {
            "left": len(self.open), "prompts": len(self.prompts), "answered": len(self.said),
            "unanswerable": self.unanswerable,
            "foreseen": {name: vars(tally) for name, tally in self.tallies.items()},
        }  # fmt: skip


def open_comparisons(source: Path | None, votes: Path | None) -> Comparisons | None:
    """None without a source. Raises UserError for a file that holds neither pairs nor prompts, and
    without votes.
    """
    if source is None:
        return None
    if votes is None:
        raise UserError(
            f"compare={source} was given and no file for what is said: give votes=votes.jsonl too."
        )
    if source.absolute() == votes.absolute():
        raise UserError(f"compare and votes are both {source}: give each a file of its own.")
    return read_comparisons(source, votes, VoteFile(votes, "votes"))


def read_comparisons(source: Path, votes: Path, file: VoteFile) -> Comparisons:
    """source: a .jsonl of pairs, or of prompts. file: that of the votes. Raises UserError for rows
    that are neither, and for votes that cannot be read.
    """
    asked = votes.with_name(f"{votes.stem}.asked.jsonl")
    pairs, prompts = read_source(source)
    kept = Comparisons(source, file, VoteFile(asked, "compare"), pairs, prompts)
    written = read_kept(asked)
    for row in written:
        if "skipped" in row:
            kept.closed.add(row["skipped"])
        else:
            kept.add(read_candidate(row))
    done = {json.dumps(row["prompt"]) for row in written if "prompt" in row}
    kept.prompts = [each for each in kept.prompts if json.dumps(each) not in done]
    census = Census(str(votes), Reading(), rows="pairs")
    for number, row in enumerate(read_kept(votes), start=1):
        try:
            pair = read_preference(row, f"line {number} of {votes}", census)
        except Unusable:  # it says nothing about two answers: whoever trains on it tells that
            continue
        turns = [*pair.prompt, pair.preferred, pair.rejected]
        if is_plain(turns):  # in whichever shape somebody has written it
            *prompt, better, other = [strip(turn) for turn in turns]
            said = {"prompt": prompt, "chosen": [better], "rejected": [other]}
            kept.learn(said | {"metadata": row.get("metadata")})
    return kept
