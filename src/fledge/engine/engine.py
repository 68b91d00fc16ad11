"""The token engine, by continuous batching: many requests in a fixed number of slots; a finished
row's slot takes the next request at once. Prompts are prefilled, a long one piece by piece between
the steps of the others; then a token is decoded for every live row at a time.

Every row has its own rules, its own random numbers and its own end; what it says depends on none of
its neighbours, nor on its slot.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from fledge.engine.admission import Admission
from fledge.engine.generation import Generation
from fledge.engine.logits import (
    Choice,
    apply_rules,
    compute_raw_logits,
    draw_tokens,
    list_forbidden,
)
from fledge.engine.packed_weights import PackedWeights
from fledge.engine.request import Completion, Feature, Request, Way
from fledge.engine.row import OnToken, Row, fail, fit_prompt
from fledge.engine.running_batch import RunningBatch, group_by_rule
from fledge.errors import UserError
from fledge.policy import TokenPolicy

NONE: Mapping[int, float] = {}
# Named one by one: a feature that is new is unknown here until it has been written.
ENGINE = Way(
    "this engine",
    frozenset({
        Feature.MIN_NEW_TOKENS, Feature.RULE, Feature.STOP_STRINGS, Feature.REPETITION_PENALTY,
        Feature.PRESENCE_PENALTY, Feature.FREQUENCY_PENALTY, Feature.LOGIT_BIAS, Feature.CONSTRAINT,
        Feature.ALTERNATIVES,
    }),
)  # fmt: skip


class Engine:
    """`submit` requests, `advance` until nothing is live; or `run` does both. It uses the policy's
    weights as they are at each step: `policy.version` says that they have changed, and whoever
    writes them so that it does not rise (neither by `Learner` nor by `load_state_dict`) calls
    `renew`.

    slots: rows side by side; more wait. positions: tokens a slot holds, by default the model's
    context. cache_bytes: the most that the KV cache may take, which lowers the slots. vocabulary:
    the bytes of each token, which stop strings need. prefix_cache_rows: how many finished rows the
    prefix cache keeps for prompts that begin as they did. packed: weights that other engines have
    too, until the policy's change. Raises UserError where not even one slot fits.
    """

    def __init__(
        self,
        policy: TokenPolicy,
        *,
        slots: int = 64,
        positions: int | None = None,
        cache_bytes: int | None = None,
        precision: Generation = "fp32",
        vocabulary: Sequence[bytes] | None = None,
        prefix_cache_rows: int = 0,
        packed: PackedWeights | None = None,
    ) -> None:
        self.policy, self.vocabulary = policy, vocabulary
        self.context: int = policy.network.config.context
        self.positions = min(positions or self.context, self.context)
        size = len(policy.network.unembedding)
        if slots < 1 or prefix_cache_rows < 0:
            raise UserError(
                f"slots={slots}, prefix_cache_rows={prefix_cache_rows} was given: slots must be 1 "
                "or more, prefix_cache_rows 0 or more."
            )
        if vocabulary is not None and len(vocabulary) < size:
            raise UserError(
                f"a vocabulary of {len(vocabulary)} tokens was given to a model of {size}: give "
                "the model's own."
            )
        self.forbidden = list_forbidden(policy)
        self.batch = RunningBatch(
            policy, slots, self.positions, precision, prefix_cache_rows, cache_bytes, packed
        )
        self.queue: deque[Row] = deque()
        self._asked_to_cancel = False
        self.admission = Admission()
        self.done: list[tuple[int, Completion]] = []
        self.news: deque[tuple[OnToken, int, int]] = deque()  # tokens said and not announced yet
        self._numbers = itertools.count()

    @property
    def cache_bytes(self) -> int:
        """What the KV cache takes."""
        return self.batch.cache_bytes

    @property
    def version(self) -> int:
        """Of the weights that it goes by, as `TokenPolicy.version` has it."""
        return self.batch.version

    def submit(self, request: Request, on_token: OnToken | None = None) -> int:
        """Queue it; its number. A request that cannot be answered ends with an error, and its
        neighbours go on.

        on_token(number, token) is called from `advance` for every token, in order, after it was
        said. What it raises leaves `advance`; the engine then stands between two steps, and
        the next `advance` goes on as if nothing had been raised.
        """
        number = next(self._numbers)
        try:
            network = self.policy.network
            request.check(network.config.vocab_size, self.context, ENGINE)
            if request.stop_strings and self.vocabulary is None:
                raise UserError(
                    "stop strings were given and this engine has no vocabulary: give it the "
                    "tokenizer's."
                )
            row = Row(
                number,
                request,
                *fit_prompt(request, network, self.positions),
                vocabulary=self.vocabulary,
                on_token=on_token,
            )
            if row.room < 1:
                raise UserError(
                    f"the prompt has {len(row.prompt)} tokens and a slot of this engine holds "
                    f"{self.positions}: shorten it."
                )
            self.queue.append(row)
        except UserError as error:
            self.done.append((number, fail(request, str(error), self.version)))
        return number

    def cancel(self, number: int) -> None:
        """What it has said so far is its completion. Nothing happens to a request that has
        ended.
        """
        self._cancel_all({number})

    def _cancel_all(self, numbers: Collection[int]) -> None:
        for row in itertools.chain(self.queue, self.batch.live):
            row.cancelled |= row.number in numbers
        self._asked_to_cancel = True

    def run(self, requests: Iterable[Request], on_token: OnToken | None = None) -> list[Completion]:
        """All of them, in their order; on_token(place among them, token). Those that may say most
        go first, so that all end together.

        If something is raised on the way, by on_token say, none of them stays in the engine.
        """
        asked = list(requests)
        place: dict[int, int] = {}  # of each number
        completions: dict[int, Completion] = {}
        # Of those submitted before, which are left for `advance` to give.
        others: list[tuple[int, Completion]] = []
        announce = (
            None if on_token is None else lambda number, token: on_token(place[number], token)
        )
        try:
            for i in sorted(range(len(asked)), key=lambda i: -asked[i].max_new_tokens):
                place[self.submit(asked[i], announce)] = i
            while len(completions) < len(asked):
                for number, completion in self.advance():
                    if number in place:
                        completions[place[number]] = completion
                    else:
                        others.append((number, completion))
        except BaseException:  # Ctrl-C too: what is half answered would block the next requests
            self._forget(place)
            raise
        finally:
            self.done[:0] = others
        return [completions[i] for i in range(len(asked))]

    @torch.inference_mode()
    def _forget(self, numbers: Collection[int]) -> None:
        """As if these had never been submitted."""
        self._cancel_all(numbers)  # in one pass: one a number would take hours of 100,000 that wait
        self._cancel()
        self.done = [ended for ended in self.done if ended[0] not in numbers]
        self.news = deque(news for news in self.news if news[1] not in numbers)

    @property
    def may_read(self) -> bool:
        """Whether a prompt that waits may be read in the next step, or a further piece of one."""
        return bool(self.queue) and (self.batch.free > 0 or self.batch.ahead is not None)

    @property
    def busy(self) -> bool:
        return bool(self.queue or self.batch.live or self.done)

    def advance(self) -> list[tuple[int, Completion]]:
        """Decode one token for every live row, after new ones have been prefilled; what ended, by
        number.
        """
        batch = self.batch
        with torch.inference_mode():
            batch.follow_weights()
            self._cancel()
            self._admit()
        self._announce()  # first tokens: they need not wait for everybody's next
        with torch.inference_mode():
            batch.read_ahead(self.queue)
            if batch.live:
                self._sample(batch.decode(), 0)
        self._announce()
        ended, self.done = self.done, []
        return ended

    def _announce(self) -> None:
        while self.news:
            on_token, number, token = self.news.popleft()
            on_token(number, token)

    def _sample(self, hidden: Tensor, first: int) -> None:
        """The next token of the rows from slot `first` on.  [B, D]"""
        batch, slots = self.batch, self.batch.slots
        rows = batch.live[first:]
        rules = batch.rules if first == 0 else group_by_rule(rows)
        raw = compute_raw_logits(batch.network, hidden, self.forbidden)
        logits = apply_rules(raw, rows, rules)
        choice = draw_tokens(raw, logits, slots.take_uniform(first, len(rows)), rows, rules)
        # no token is left, or a logit is no number
        stuck = {i: top for i, top in enumerate(choice.top.tolist()) if not math.isfinite(top)}
        batch.spoilt |= any(top != float("-inf") for top in stuck.values())
        ended = slots.write(first, choice)  # whose row has come to its stop token or its limit
        told = [None if i in stuck else row for i, row in enumerate(rows)] if stuck else rows
        self._watch(told, first, choice, raw)
        over = {*ended, *self._heard, *(first + i for i in stuck)}
        if over:
            self._finish(sorted(over), {first + i: top for i, top in stuck.items()})

    def _watch(self, rows: Sequence[Row | None], first: int, choice: Choice, raw: Tensor) -> None:
        """What rows that read themselves do with their new token; `_heard` are the slots where a
        stop string came.
        """
        self._heard: list[int] = []
        watched = [(i, row) for i, row in enumerate(rows) if row is not None and row.watched]
        if not watched:
            return
        for (i, row), token in zip(
            watched, choice.token[[i for i, _ in watched]].tolist(), strict=True
        ):
            if row.request.alternatives:
                best = raw[i].log_softmax(-1).topk(row.request.alternatives)
                pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
                row.alternatives.append(
                    [(other, logp) for other, logp in pairs if logp > float("-inf")]
                )
            if row.on_token is not None:
                self.news.append((row.on_token, row.number, token))
            if row.take(token):
                self._heard.append(first + i)

    def _finish(self, slots: Sequence[int], stuck: Mapping[int, float] = NONE) -> None:
        """Take these rows out.

        stuck: slots that have no next token, and their largest logit. The last token of such a row
            was never said.
        """
        batch, held = self.batch, []
        for slot, (tokens, logp, raw_logp) in zip(slots, batch.slots.read_said(slots), strict=True):
            row, error = batch.live[slot], None
            if slot in stuck:
                tokens, logp, raw_logp = tokens[:-1], logp[:-1], raw_logp[:-1]
                ended, error = row.explain_stuck(stuck[slot])
            else:
                ended = row.name_end(tokens, heard=slot in self._heard)
            self.done.append(
                (row.number, row.complete(ended, tokens, logp, raw_logp, self.version, error))
            )
            # The last token was never fed back: its keys are not in the cache.
            held.append(row.prompt + tokens[:-1])
        batch.remove(slots, held)

    def _cancel(self) -> None:
        self._heard = []
        # Not by looking at all that wait: of 100,000 that would take as long as decoding does.
        asked, self._asked_to_cancel = self._asked_to_cancel, False
        if not asked:
            return
        waiting, self.queue = self.queue, deque()
        for row in waiting:
            if row.cancelled:
                self.done.append((row.number, row.complete("cancelled", [], [], [], self.version)))
            else:
                self.queue.append(row)
        gone = [slot for slot, row in enumerate(self.batch.live) if row.cancelled]
        if gone:
            self._finish(gone)

    def _admit(self) -> None:
        """The next requests into the free slots, and their first token."""
        if new := self.admission.take(self.queue, self.batch):
            first = len(self.batch.live)
            self._sample(self.batch.admit(new), first)

    def renew(self) -> None:
        """The weights have been written by other hands than a Learner's: the next `advance` goes by
        the new ones, and so does every engine over the same network.
        """
        self.policy.raise_version()

    def read_chances(
        self, since: Mapping[int, int]
    ) -> dict[int, tuple[list[float], list[list[tuple[int, float]]]]]:
        """Of live rows, by number: raw log-probabilities and alternatives of the tokens from the
        `since`-th on.
        """
        slots, told = self.batch.slots, {}
        for slot, row in enumerate(self.batch.live):
            if row.number in since:
                first = since[row.number]
                raw_logp = slots.raw_logp[slot, first : len(row.said)].tolist()
                told[row.number] = (raw_logp, row.alternatives[first:])
        return told
