"""Beam search over the networks that the engine runs.

An ended hypothesis is worth its joint log-probability / length**length_penalty, which is Hugging
Face's `length_penalty`; Wu et al. 2016, eq. 14, divide by ((5 + length) / 6)**length_penalty.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fledge.engine.forms import make_form
from fledge.engine.generation import Generation
from fledge.engine.logits import compute_raw_logits, list_forbidden, process_logits
from fledge.engine.prefill import prefill
from fledge.engine.request import PROCESSED, Completion, Ended, Request, Way
from fledge.engine.row import NOT_FINITE, NOTHING_LEFT, Row, fit_prompt
from fledge.errors import UserError
from fledge.policy import TokenPolicy

STEEPEST = 10  # length penalty, either way: lengths to a higher power leave the range of a float
# It ranks and draws nothing, so that a sampling rule would say nothing to it.
BEAM = Way("beam search", PROCESSED, instead="sample with `best_of`")


@dataclass(frozen=True)
class Hypothesis(Completion):
    """A completion that was searched for. The sum of `logp` is its joint log-probability.

    `logp` is under the model with the request's biases and penalties. What is forbidden (a bias of
    −∞, the constraint, a stop before min_new_tokens) keeps its share of the mass: ranking what is
    left is ranking by the probability given that it is said.
    """

    # joint log-probability / length**length_penalty, the stop token counted in the length
    score: float = -math.inf


@torch.inference_mode()
def beam_search(
    policy: TokenPolicy,
    requests: Sequence[Request],
    *,
    width: int,
    n_best: int = 1,
    length_penalty: float = 1.0,
    slots: int = 256,
    precision: Generation = "fp32",
) -> list[list[Hypothesis]]:
    """The n_best hypotheses of each request, best first; fewer where fewer were found, and one with
    an error where none was.

    At every step the likeliest continuations are gone through in order until `width` of them are
    live; those that end before that compete for n_best, as do the live ones that are cut. A request
    is done once no live hypothesis can be worth more than what it has. With as many in the beam as
    there are live prefixes this is exhaustive search; with one and a length_penalty of 0, greedy.
    slots: hypotheses side by side; further requests wait. Raises UserError for what cannot be
        searched for, before anything is.
    """
    _check_sizes(width, n_best, length_penalty, slots)
    for i, request in enumerate(requests):
        try:
            request.check(policy.network.config.vocab_size, policy.network.config.context, BEAM)
        except UserError as error:
            raise UserError(f"request {i}: {error}") from None
    rows = [
        Row(i, request, *fit_prompt(request, policy.network)) for i, request in enumerate(requests)
    ]
    longest = max((len(row.prompt) + row.room for row in rows), default=0)
    network = make_form(policy.network, precision, longest)
    # Of like length side by side, longest first, which costs least.
    rows.sort(key=lambda row: -len(row.prompt))
    hypotheses: dict[int, list[Hypothesis]] = {}
    together = max(1, slots // width)
    for first in range(0, len(rows), together):
        search = _Search(
            policy, network, rows[first : first + together], width, n_best, length_penalty
        )
        hypotheses.update(search.run())
    return [hypotheses[i] for i in range(len(requests))]


def _check_sizes(width: int, n_best: int, length_penalty: float, slots: int) -> None:
    if width < 1:
        raise UserError(f"width={width} was given: a beam holds 1 hypothesis or more.")
    if not 1 <= n_best <= width:
        raise UserError(
            f"n_best={n_best} was given: it must lie between 1 and the width of the beam, {width}."
        )
    if not abs(length_penalty) <= STEEPEST:
        raise UserError(
            f"length_penalty={length_penalty} was given: it must lie between {-STEEPEST} and "
            f"{STEEPEST}."
        )
    if slots < 1:
        raise UserError(f"slots={slots} was given: it must be 1 or more.")


@dataclass(frozen=True)
class _Candidates:
    """The likeliest continuations of each request by one token, likeliest first. All [R, K]."""

    slot: Tensor  # of the hypothesis that is continued
    token: Tensor
    logp: Tensor
    raw_logp: Tensor
    joint: Tensor
    stop: Tensor  # bool: the token ends it


class _Search:
    """R requests side by side, w ≤ width live hypotheses each, in slots 0…R·w−1; requests that are
    done leave.

    A request with fewer than w has some of joint log-probability −∞, which lead nowhere.
    """

    def __init__(
        self,
        policy: TokenPolicy,
        network: Any,
        rows: Sequence[Row],
        width: int,
        n_best: int,
        length_penalty: float,
    ) -> None:
        """rows: one for each request, that has said nothing."""
        self.network, self.forbidden = network, list_forbidden(policy)
        self.device = policy.network.unembedding.device
        self.width, self.n_best, self.length_penalty = width, n_best, length_penalty
        self.asked = list(rows)  # R
        # Of each request those that have ended, best first.
        self.best: dict[int, list[Hypothesis]] = {row.number: [] for row in rows}
        self.broken: set[int] = set()  # requests that came to logits that are no numbers
        # R·w, where it matters what was said
        self.rows = [row if row.needs_processing else None for row in rows]
        self.joint = torch.zeros(len(rows), 1, dtype=torch.float64, device=self.device)  # [R, w]
        self.said = torch.zeros(len(rows), 0, dtype=torch.long, device=self.device)  # [R·w, t]
        self.logp, self.raw_logp = self.said.double(), self.said.double()
        stops = max(len(row.request.stop) for row in rows)
        padded = [sorted(row.request.stop) + [-1] * (stops - len(row.request.stop)) for row in rows]
        self.stop = torch.tensor(padded, dtype=torch.long, device=self.device)  # [R, S]
        self.cache = network.make_cache(
            len(rows) * width, max(len(row.prompt) + row.room for row in rows)
        )

    def run(self) -> dict[int, list[Hypothesis]]:
        """The hypotheses of each request, by its number."""
        hidden = self._prefill()
        while True:
            before = self.joint.shape
            candidates = self._list_candidates(
                compute_raw_logits(self.network, hidden, self.forbidden)
            )
            slots = self._keep(candidates, self._end(candidates))
            if not self.asked:
                return self.best
            hidden = self._decode(slots, self.joint.shape == before)

    def _prefill(self) -> Tensor:
        """The prompts, each into its own slot.  -> hidden states of their last tokens [R, D]"""
        prompts = [row.prompt for row in self.asked]
        ends: dict[int, Tensor] = {}
        slots = range(len(prompts))
        for some, hidden in prefill(self.network, self.cache, prompts, [0] * len(prompts), slots):
            ends |= zip(some, hidden[:, 0], strict=True)
        return torch.stack([ends[r] for r in slots])

    def _decode(self, slots: Tensor, same: bool) -> Tensor:
        """Read the last token of every hypothesis, after what the slot it grew in holds.
        [R·w] -> hidden states [R·w, D]

        same: every request has the slots it had, so that they hold its prompt already.
        """
        # Hypotheses change places as they branch: their keys follow them. The prompt's need not
        # where a request stays in its slots, since all of its hypotheses have the same.
        before = self.said.shape[1] - 1
        hypotheses = self.joint.shape[1]
        held = [  # longest first
            len(row.prompt) + before for row in self.asked for _ in range(hypotheses)
        ]
        self.cache.reorder(slots, held[-1] - before if same else 0, held[0])
        lengths = torch.tensor(held, device=self.device)
        return self.network.step(self.said[:, -1], lengths, held, self.cache)

    def _list_candidates(self, raw: Tensor) -> _Candidates:
        """raw [R·w, V], −∞ for what is no action"""
        logp, raw_logp = _compute_chances(raw, self.rows)
        logp = self._drop_stuck(logp)
        # Enough of each hypothesis and enough of all: if every one of the `width` stops in every
        # way that it may, as many are left that go on.
        k = self.width * (1 + self.stop.shape[1])
        best, token = logp.topk(min(k, logp.shape[1]))  # [R·w, k]
        total = (self.joint.view(-1, 1) + best).view(len(self.asked), -1)  # [R, w·k]
        joint, place = total.topk(min(k, total.shape[1]))
        requests = torch.arange(len(self.asked), device=self.device)
        first = self.joint.shape[1] * requests  # each request's first slot
        slot = first[:, None] + place // best.shape[1]
        token = token.view(total.shape).gather(1, place)
        stop = (token[..., None] == self.stop[:, None]).any(-1)
        return _Candidates(
            slot, token, logp[slot, token].double(), raw_logp[slot, token].double(), joint, stop
        )

    def _drop_stuck(self, logp: Tensor) -> Tensor:
        """Hypotheses without a next token have no continuations; those that are complete end.
        [R·w, V] -> [R·w, V]
        """
        best, joint = logp.amax(1), self.joint.flatten()
        stuck = ~best.isfinite()
        for slot in (stuck & (joint > -math.inf)).nonzero().flatten().tolist():
            r, row = slot // self.joint.shape[1], self.rows[slot]
            if best[slot].isnan():
                self.broken.add(self.asked[r].number)
            elif row is not None and row.is_complete():
                told = (
                    self.said[slot].tolist(),
                    self.logp[slot].tolist(),
                    self.raw_logp[slot].tolist(),
                )
                self._compete(r, joint[slot].item(), "stop", *told)
        return logp.masked_fill(stuck[:, None], -math.inf)

    def _end(self, some: _Candidates) -> Tensor:
        """Those that end compete for n_best.  -> those that live on [R, K] bool"""
        # A hypothesis that ends takes no place in the beam: the candidates are gone through until
        # `width` live ones are found, and what comes after the last of them is not looked at.
        ahead = (~some.stop).cumsum(1) - (~some.stop).long()  # likelier ones that are live
        taken = (some.joint > -math.inf) & (ahead < self.width)
        length = self.said.shape[1] + 1
        cut = torch.tensor([length == row.room for row in self.asked], device=self.device)
        ended = taken & (some.stop | cut[:, None])
        # They are of one length: no more than the likeliest n_best can be among the best.
        ours = ended & (ended.cumsum(1) <= self.n_best)
        r, i = ours.nonzero(as_tuple=True)
        columns = (r, some.joint[r, i], some.stop[r, i], *self._lengthen(some, r, i))
        for one, joint, stop, *told in zip(*(column.tolist() for column in columns), strict=True):
            self._compete(one, joint, "stop" if stop else "length", *told)
        return taken & ~ended

    def _keep(self, some: _Candidates, live: Tensor) -> Tensor:
        """The requests that can still do better, and their live hypotheses.  live [R, K] -> the
        slots these grew in [R·w]
        """
        likeliest = some.joint.masked_fill(~live, -math.inf).amax(1).tolist()
        keep = [r for r, joint in enumerate(likeliest) if not self._is_done(r, joint)]
        for r in set(range(len(likeliest))).difference(keep):
            self._close(self.asked[r])
        # All requests have as many slots as the one that needs most: [R, w] is an array.
        w = max(live[keep].sum(1).tolist(), default=0)
        # The live ones first, likeliest first.
        order = (~live[keep]).long().argsort(dim=1, stable=True)[:, :w]
        kept = torch.tensor(keep, dtype=torch.long, device=self.device)
        r, i = kept.repeat_interleave(w), order.flatten()
        self.said, self.logp, self.raw_logp = self._lengthen(some, r, i)
        self.joint = some.joint[r, i].masked_fill(~live[r, i], -math.inf).view(len(keep), w)
        self.asked, self.stop = [self.asked[one] for one in keep], self.stop[keep]
        slots = some.slot[r, i]
        self.rows = self._extend_rows(slots)
        return slots

    def _extend_rows(self, slots: Tensor) -> list[Row | None]:
        """The rows of the hypotheses that grew in these slots, each with its new token. Only those
        whose logits depend on what was said have one: the others cost nothing here.  [R·w]
        """
        if all(row is None for row in self.rows):
            return [None] * len(slots)
        columns = (
            slots.tolist(),
            self.said[:, -1].tolist(),
            self.joint.flatten().isfinite().tolist(),
        )
        # A hypothesis of probability 0 only fills its place: its token may be one that the
        # constraint has no step for.
        spoken = [
            (self.rows[slot] if alive else None, token)
            for slot, token, alive in zip(*columns, strict=True)
        ]
        return [row and row.grow(token) for row, token in spoken]

    def _lengthen(self, some: _Candidates, r: Tensor, i: Tensor) -> list[Tensor]:
        """All that candidate i of request r has said, its logp and raw logp.  [N], [N] -> [N, t+1]
        three times
        """
        pairs = (self.said, some.token), (self.logp, some.logp), (self.raw_logp, some.raw_logp)
        return [torch.cat([old[some.slot[r, i]], new[r, i, None]], 1) for old, new in pairs]

    def _compete(
        self,
        r: int,
        joint: float,
        ended: Ended,
        tokens: list[int],
        logp: list[float],
        raw_logp: list[float],
    ) -> None:
        """With the best of request r so far: the n_best stay."""
        row = self.asked[r]
        score = joint / max(1, len(tokens)) ** self.length_penalty
        one = Hypothesis(list(row.request.prompt), tokens, logp, ended, raw_logp, score=score)
        bisect.insort(self.best[row.number], one, key=lambda other: -other.score)
        del self.best[row.number][self.n_best :]

    def _is_done(self, r: int, joint: float) -> bool:
        """Whether nothing that begins with a hypothesis of this joint log-probability is worth more
        than the best so far.

        No token has log π > 0, so that it only falls; what it is divided by is largest at its own
        length or at the greatest.
        """
        row, penalty = self.asked[r], self.length_penalty
        attainable = joint / max((self.said.shape[1] + 1) ** penalty, row.room**penalty)
        best = self.best[row.number]
        enough = len(best) == self.n_best and best[-1].score >= attainable
        return enough or joint == -math.inf or row.number in self.broken

    def _close(self, row: Row) -> None:
        error = None
        if row.number in self.broken:
            error = NOT_FINITE
        elif not self.best[row.number]:
            error = NOTHING_LEFT
        if error is not None:
            self.best[row.number] = [
                Hypothesis(list(row.request.prompt), [], [], "error", error=error)
            ]


def _compute_chances(raw: Tensor, rows: Sequence[Row | None]) -> tuple[Tensor, Tensor]:
    """log π of each next token, −∞ where the row forbids it, and log π of the model itself.  [B, V]
    -> [B, V] twice
    """
    plain = raw.log_softmax(-1)
    if all(row is None for row in rows):
        return plain, plain
    logits = raw.clone()
    for i, row in enumerate(rows):
        if row is not None:
            process_logits(logits[i], row)
    # What is only forbidden keeps its mass, and the others are not divided by what is left: else a
    # constraint would make a hypothesis likely for having no choice, and the ranking would be of
    # constraints and not of texts.
    forbidden = logits == -math.inf
    logp = torch.where(forbidden, raw, logits).log_softmax(-1)
    return logp.masked_fill(forbidden, -math.inf), plain
