"""Answers of an outside server to the prompts of a policy that learns: its weights are written and
reloaded as they change, how far they are behind is bounded, and what it says is held against them.
"""

from __future__ import annotations

import copy
import math
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from fledge import ranks
from fledge.engine.outside import OutsideEngine
from fledge.engine.request import Completion, Request
from fledge.errors import UserError
from fledge.hub.folder import Loaded, save_model
from fledge.hub.gguf_model import save_gguf
from fledge.policy import TokenPolicy
from fledge.trajectories import from_rows

CHECKED_ROWS = 4  # of the first answers after a reload, held against the policy
AT_ONCE = 8  # rows whose log-probability is asked for together
PAUSES_S = (2.0, 8.0)  # before a reload that failed is tried again
RELOAD_S = 1800.0  # that a reload may take
READY_S = 600.0  # that a server may take to answer after it
LOOK_S = 0.2

Form = Literal["hf", "gguf"]


@dataclass(frozen=True)
class Reload:
    """How the server takes new weights: they are written to `place`, a Hugging Face folder or a
    GGUF file in float16, and `command` is run by the shell with that in $WEIGHTS.

    What it says goes to `log`. staleness: optimizer steps that the server may be behind.
    """

    command: str
    form: Form
    place: Path
    log: Path
    staleness: int


class Served:
    """An `OutsideEngine` that follows a policy. Every rank asks for its own share of the prompts;
    the first writes and reloads.

    reload: None where the policy never changes. bound: nats a token that the server may be off
    from the weights it has just read. A token that the server gives no log-probability for gets the
    policy's own. No bits are promised: a run that goes on begins with a reload.
    """

    def __init__(
        self,
        outside: OutsideEngine,
        policy: TokenPolicy,
        base: Loaded,
        reload: Reload | None,
        bound: float,
        say: Callable[[str], None],
    ) -> None:
        self.outside, self.policy, self.base = outside, policy, base
        self.reload, self.bound, self.say = reload, bound, say
        allowed = policy.allowed
        barred = [] if allowed is None else (~allowed).nonzero().flatten().tolist()
        self.barred = dict.fromkeys(barred, -math.inf)  # tokens that are no action of the policy's
        self.version: int | None = None  # of the weights that the server has
        self.seconds = 0.0  # that reloads took since the figures were taken
        self.unscored = self.tokens = 0

    def run(
        self, requests: Iterable[Request], on_token: Callable[[int, int], None] | None = None
    ) -> list[Completion]:
        """In their order, each with log-probabilities throughout. Raises UserError for a reload
        that fails, or that the server does not show.
        """
        fresh = self._follow()
        asked = [replace(request, logit_bias=self.barred) for request in requests]
        completions = self.outside.run(asked, on_token)
        answered = [completion for completion in completions if completion.error is None]
        if fresh:
            self._check(answered[:CHECKED_ROWS])
        return self._fill(completions)

    def take_figures(self) -> dict[str, float]:
        """How many optimizer steps the server is behind; since they were last taken, how long
        reloads took, and the share of tokens that came without a log-probability.
        """
        assert self.version is not None
        figures = {
            "staleness": float(self.policy.version - self.version),
            "reload_seconds": self.seconds,
            "unscored": self.unscored / max(1, self.tokens),
        }
        self.seconds, self.unscored, self.tokens = 0.0, 0, 0
        return figures

    def _follow(self) -> bool:
        """Have the server near enough to the policy; whether it has just read new weights."""
        first, now = self.version is None, self.policy.version
        if self.reload is None:
            self.version = now
            return first
        if not first and now - (self.version or 0) <= self.reload.staleness:
            return False
        began, reload = time.perf_counter(), self.reload
        ranks.from_first(lambda: self._reload(reload))
        self.seconds += time.perf_counter() - began
        self.version = self.outside.version = now
        return True

    def _reload(self, reload: Reload) -> None:
        reload.place.parent.mkdir(parents=True, exist_ok=True)
        whole = self.base
        if whole.base is not None:  # what learns is not merged itself
            whole = replace(whole, network=copy.deepcopy(whole.network)).merged()
        if reload.form == "gguf":
            save_gguf(reload.place, whole.network, whole.tokenizer)
        else:
            save_model(reload.place, whole.network, whole.tokenizer)
        for pause in (*PAUSES_S, None):
            why = run_reload(reload)
            if why is None:
                break
            if pause is None:
                raise UserError(
                    f"reload: {why} (all that it said is in {reload.log}): mend the command, then "
                    "`fledge resume` the run."
                )
            self.say(f"reload: {why}; it is tried again")
            time.sleep(pause)
        end = time.monotonic() + READY_S
        while not self.outside.is_ready():
            if time.monotonic() > end:
                raise UserError(
                    f"{self.outside.url} has not answered for {READY_S:g} s since its weights were "
                    "reloaded: see its log, then `fledge resume` the run."
                )
            time.sleep(LOOK_S)

    def _check(self, completions: Sequence[Completion]) -> None:
        """Raises UserError where the server says something else than its weights should."""
        gaps = [
            abs(own - told)
            for completion, logp in zip(completions, self._score(completions), strict=True)
            for own, told in zip(logp, completion.logp, strict=True)
            if not math.isnan(told)
        ]
        if not gaps:
            if completions:
                self.say(
                    f"{self.outside.url} gives no log-probabilities for its first answers: whether "
                    "it has the run's weights cannot be told"
                )
            return
        off = sum(gaps) / len(gaps)
        if not off <= self.bound:
            told = "the base" if self.reload is None else str(self.reload.place)
            raise UserError(
                f"{self.outside.url} is {off:.3g} nats a token away from {told} (bound "
                f"{self.bound:g}): it has not read these weights, or changes the distribution by "
                "settings of its own. See what the reload makes it do."
            )

    def _fill(self, completions: Sequence[Completion]) -> list[Completion]:
        """With the policy's own log-probabilities where the server gave none."""
        lacking = [
            place for place, each in enumerate(completions) if any(map(math.isnan, each.logp))
        ]
        own = dict(zip(lacking, self._score([completions[i] for i in lacking]), strict=True))
        self.unscored += sum(math.isnan(told) for i in lacking for told in completions[i].logp)
        self.tokens += sum(len(each.tokens) for each in completions)
        return [
            replace(each, logp=own[place]) if place in own else each
            for place, each in enumerate(completions)
        ]

    @torch.no_grad()
    def _score(self, completions: Sequence[Completion]) -> list[list[float]]:
        """The policy's log-probability of every token that was said."""
        device, scored = self.policy.network.unembedding.device, list[list[float]]()
        for start in range(0, len(completions), AT_ONCE):
            some = completions[start : start + AT_ONCE]
            batch = from_rows(
                [each.prompt + each.tokens for each in some],
                [[False] * len(each.prompt) + [True] * len(each.tokens) for each in some],
            ).to(device)
            logp = self.policy.log_prob(batch.obs, batch.action, batch.chosen)
            scored += [row[own].tolist() for row, own in zip(logp, batch.chosen, strict=True)]
        return scored


def run_reload(reload: Reload) -> str | None:
    """What went wrong; None where nothing did."""
    environment = {**os.environ, "WEIGHTS": str(reload.place.absolute())}
    with reload.log.open("ab") as log:
        try:
            # Into a file: a server that the command leaves running would hold a pipe open.
            done = subprocess.run(
                reload.command, shell=True, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, timeout=RELOAD_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"`{reload.command}` was not done after {RELOAD_S:g} s"
    if done.returncode:
        said = reload.log.read_text(errors="replace").strip().rpartition("\n")[2]
        return f"`{reload.command}` ended with code {done.returncode}: {said or 'it said nothing'}"
    return None
