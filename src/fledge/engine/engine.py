"""The token engine, by continuous batching: many requests in a fixed number of slots; a finished
row's slot takes the next request at once. Prompts are prefilled, then a token is decoded for every
live row at a time.

Every row has its own rules, its own random numbers and its own end; what it says depends on none of
its neighbours, nor on its slot.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fledge.engine.forms import make_form
from fledge.engine.generation import BLOCK, Generation
from fledge.engine.logits import (
    Choice,
    apply_rules,
    compute_raw_logits,
    draw_tokens,
    list_forbidden,
)
from fledge.engine.prefill import prefill, take_last
from fledge.engine.prefix_cache import PrefixCache
from fledge.engine.request import Completion, Ended, Feature, Request, Way
from fledge.engine.row import NOT_FINITE, NOTHING_LEFT, OnToken, Row, fail, fit_prompt
from fledge.engine.slots import Slots
from fledge.errors import UserError
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy

SORT_EVERY = 32  # steps: how often the slots are put in order of length
NONE: Mapping[int, float] = {}
# Named one by one: a feature that is new is unknown here until it has been written.
ENGINE = Way(
    "this engine",
    frozenset(
        {
            Feature.MIN_NEW_TOKENS,
            Feature.RULE,
            Feature.STOP_STRINGS,
            Feature.REPETITION_PENALTY,
            Feature.PRESENCE_PENALTY,
            Feature.LOGIT_BIAS,
            Feature.CONSTRAINT,
            Feature.ALTERNATIVES,
        }
    ),
)


class Engine:
    """`submit` requests, `advance` until nothing is live; or `run` does both. It uses the policy's
    weights as they are at each step: `policy.version` says that they have changed, and whoever
    writes them so that it does not rise (neither by `Learner` nor by `load_state_dict`) calls
    `renew`.

    slots: rows side by side; more wait. positions: tokens a slot holds, by default the model's
    context. cache_bytes: the most that the KV cache may take, which lowers the slots. vocabulary:
    the bytes of each token, which stop strings need. prefix_cache_rows: how many finished rows the
    prefix cache keeps for prompts that begin as they did. Raises UserError where not even one slot
    fits.
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
    ) -> None:
        self.policy, self.vocabulary = policy, vocabulary
        self.precision: Generation = precision
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
        self.version = policy.version  # of the weights that `network` was made of
        self.forbidden = list_forbidden(policy)
        self.network: Any = make_form(policy.network, precision, self.positions)
        more = prefix_cache_rows + 1  # the last slot is room to move rows by
        if cache_bytes is not None:
            slots = self._fit_slots(slots, prefix_cache_rows, cache_bytes)
        # Stated before it is taken.
        self.cache_bytes: int = self.network.count_cache_bytes(slots + more, self.positions)
        self.cache = self.network.make_cache(slots + more, self.positions)
        self.slots = Slots(slots, self.positions, policy.network.unembedding.device)
        self.prefix_cache = PrefixCache(slots, prefix_cache_rows)
        self.queue: deque[Row] = deque()
        self.live: list[Row] = []  # in the order of their slots: the first slots are the live ones
        self.rules: dict[Decoding, list[int]] = {}
        self.done: list[tuple[int, Completion]] = []
        self.news: deque[tuple[OnToken, int, int]] = deque()  # tokens said and not announced yet
        self.steps = 0
        self.spoilt = False  # a weight has been no number, and so is what it left in the cache
        self._numbers = itertools.count()

    def _fit_slots(self, slots: int, prefix_cache_rows: int, cache_bytes: int) -> int:
        """The most slots, up to `slots`, that the KV cache may have. Raises UserError for none."""
        more = prefix_cache_rows + 1
        for n in range(slots, 0, -1):
            if self.network.count_cache_bytes(n + more, self.positions) <= cache_bytes:
                return n
        least = self.network.count_cache_bytes(1 + more, self.positions)
        raise UserError(
            f"cache_bytes={cache_bytes} was given and one row of {self.positions} tokens takes "
            f"{least}, with one to move rows by and prefix_cache_rows={prefix_cache_rows}: give "
            "more, or fewer positions."
        )

    def submit(self, request: Request, on_token: OnToken | None = None) -> int:
        """Queue it; its number. A request that cannot be answered ends with an error, and its
        neighbours go on.

        on_token(number, token) is called from `advance` for every token, in order, after the step
        that said it. What it raises leaves `advance`; the engine then stands between two steps, and
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
        for row in itertools.chain(self.queue, self.live):
            row.cancelled |= row.number in numbers

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
    def busy(self) -> bool:
        return bool(self.queue or self.live or self.done)

    def advance(self) -> list[tuple[int, Completion]]:
        """Decode one token for every live row, after new ones have been prefilled; what ended, by
        number.
        """
        with torch.inference_mode():
            self._follow_weights()
            self._cancel()
            if self.queue and len(self.live) < len(self.slots):
                self._admit()
            if self.live:
                self._decode()
        while self.news:
            on_token, number, token = self.news.popleft()
            on_token(number, token)
        ended, self.done = self.done, []
        return ended

    def _decode(self) -> None:
        b = len(self.live)
        self.steps += 1
        if self.steps % SORT_EVERY == 0:
            self._sort_slots()
        slots = self.slots
        hidden = self.network.step(slots.current[:b], slots.length[:b], slots.held[:b], self.cache)
        self.slots.grow(b)
        self._sample(hidden, 0)

    def _sample(self, hidden: Tensor, first: int) -> None:
        """The next token of the rows from slot `first` on.  [B, D]"""
        rows, slots = self.live[first:], self.slots
        rules = self.rules if first == 0 else group_by_rule(rows)
        raw = compute_raw_logits(self.network, hidden, self.forbidden)
        logits = apply_rules(raw, rows, rules)
        best = logits.amax(-1)
        lost = ~best.isfinite()  # no token is left, or a logit is no number
        stuck = {i: float(best[i]) for i in lost.nonzero().flatten().tolist()}
        if stuck:
            logits = logits.masked_fill(lost[:, None], 0.0)
            self.spoilt |= any(top != float("-inf") for top in stuck.values())
        choice = draw_tokens(raw, logits, slots.take_uniform(first, len(rows)), rows, rules)
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
        """Take these rows out; the last live slots move into their places.

        stuck: slots that have no next token, and their largest logit. The last token of such a row
            was never said.
        """
        for slot, (tokens, logp, raw_logp) in zip(slots, self.slots.read_said(slots), strict=True):
            row, error = self.live[slot], None
            if slot in stuck:
                tokens, logp, raw_logp = tokens[:-1], logp[:-1], raw_logp[:-1]
                ended, error = self._explain_stuck(row, stuck[slot])
            else:
                ended = self._name_end(row, tokens, slot)
            self.done.append(
                (row.number, row.complete(ended, tokens, logp, raw_logp, self.version, error))
            )
            # The last token was never fed back: its keys are not in the cache.
            self.prefix_cache.store_finished(slot, row.prompt + tokens[:-1], self.cache)
        left = len(self.live) - len(slots)
        gone = set(slots)
        sources = [slot for slot in range(left, len(self.live)) if slot not in gone]
        targets = [slot for slot in slots if slot < left]
        for source, target in zip(sources, targets, strict=True):
            self.cache.move(source, target, self.slots.held[source])
            self.live[target] = self.live[source]
            self.prefix_cache.move(source, target)
        if sources:
            self.slots.move(sources, targets)
        del self.live[left:]
        self.rules = group_by_rule(self.live)

    def _name_end(self, row: Row, tokens: list[int], slot: int) -> Ended:
        if row.cancelled:
            return "cancelled"
        if tokens and tokens[-1] in row.request.stop:
            return "stop"
        return "stop_string" if slot in self._heard else "length"

    def _explain_stuck(self, row: Row, best: float) -> tuple[Ended, str | None]:
        if best != float("-inf"):
            return "error", NOT_FINITE
        # The request has no stop token to say so.
        return ("stop", None) if row.is_complete() else ("error", NOTHING_LEFT)

    def _cancel(self) -> None:
        self._heard = []
        waiting, self.queue = self.queue, deque()
        for row in waiting:
            if row.cancelled:
                self.done.append((row.number, row.complete("cancelled", [], [], [], self.version)))
            else:
                self.queue.append(row)
        gone = [slot for slot, row in enumerate(self.live) if row.cancelled]
        if gone:
            self._finish(gone)

    def _admit(self) -> None:
        """Prefill the next requests into the free slots, each from where the prefix cache ends, and
        sample their first token.
        """
        first = len(self.live)
        new = [self.queue.popleft() for _ in range(min(len(self.slots) - first, len(self.queue)))]
        self.live += new
        self.slots.open(first, new)
        self.rules = group_by_rule(self.live)
        self._sample(self._prefill(first), first)

    def _prefill(self, first: int) -> Tensor:
        """The prompts of the rows from slot `first` on, into the KV cache.  -> hidden states of
        their last tokens [B, D]
        """
        rows = self.live[first:]
        last: list[Tensor] = [torch.empty(0)] * len(rows)
        alike: dict[tuple[int, ...], int] = {}
        # Rows to prefill first, and those that begin as one of these does.
        waves: list[list[int]] = [[], []]
        copies: list[tuple[int, int]] = []
        for i, row in enumerate(rows):
            key = tuple(row.prompt)
            if key in alike:
                copies.append((alike[key], i))
                continue
            alike[key] = i
            waves[self.prefix_cache.await_prefix(first + i, row.prompt)].append(i)
        for wave in waves:
            starts = [
                self.prefix_cache.copy_prefix(first + i, rows[i].prompt, self.cache) for i in wave
            ]
            prompts, slots = [rows[i].prompt for i in wave], [first + i for i in wave]
            for some, hidden in self._read(prompts, starts, slots):
                ends = take_last(hidden, [len(prompts[k]) - starts[k] for k in some])
                for k, end in zip(some, ends, strict=True):
                    last[wave[k]] = end
                    self.prefix_cache.store(slots[k], prompts[k])
        for source, i in copies:
            self.cache.move(first + source, first + i, len(rows[i].prompt))
            self.prefix_cache.store(first + i, rows[i].prompt)
            last[i] = last[source]
        return torch.stack(last)

    def _read(
        self, rows: Sequence[Sequence[int]], starts: Sequence[int], slots: Sequence[int]
    ) -> Iterator[tuple[list[int], Tensor]]:
        return prefill(self.network, self.cache, rows, starts, slots, self.slots.length.device)

    def _sort_slots(self) -> None:
        """The slots in order of length, longest first: attention then reads little more than what
        is there.
        """
        order = sorted(range(len(self.live)), key=lambda slot: -(self.slots.held[slot] // BLOCK))
        spare, moved = self.cache.slots - 1, set[int]()
        for begin in range(len(order)):
            if begin in moved or order[begin] == begin:
                continue
            self.cache.move(begin, spare, self.slots.held[begin])
            slot = begin
            while order[slot] != begin:
                self.cache.move(order[slot], slot, self.slots.held[order[slot]])
                moved.add(slot)
                slot = order[slot]
            self.cache.move(spare, slot, self.slots.held[begin])
            moved.add(slot)
        if moved:
            self.slots.reorder(order)
            self.live = [self.live[slot] for slot in order]
            self.prefix_cache.reorder(order)
            self.rules = group_by_rule(self.live)

    def renew(self) -> None:
        """The weights have been written by other hands than a Learner's: the next `advance` goes by
        the new ones, and so does every engine over the same network.
        """
        self.policy.raise_version()

    def _follow_weights(self) -> None:
        """The weights as they are now. Rows under way are prefilled anew: no key in the KV cache is
        older than the weights.
        """
        if self.policy.version == self.version:
            return
        self.version = self.policy.version
        self.network = make_form(self.policy.network, self.precision, self.positions)
        self.prefix_cache.clear()
        if self.spoilt:  # what lies beyond a row's end is masked, and NaN is heard all the same
            self.cache.store.zero_()
            self.spoilt = False
        said = self.slots.read_said(range(len(self.live)))
        rows = [  # without the last token, which is read next
            row.prompt + tokens[:-1] for row, (tokens, _, _) in zip(self.live, said, strict=True)
        ]
        for _ in self._read(rows, [0] * len(rows), range(len(rows))):
            pass  # their next token follows from one that is not read yet
        for slot, row in enumerate(rows):
            self.prefix_cache.store(slot, row)


def group_by_rule(rows: Sequence[Row]) -> dict[Decoding, list[int]]:
    """Which rows go by which rule."""
    same: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        same.setdefault(id(row.request.rule), []).append(i)
    merged: dict[Decoding, list[int]] = {}
    for members in same.values():  # rules that are equal and not the same object are few
        merged.setdefault(rows[members[0]].request.rule, []).extend(members)
    return merged
