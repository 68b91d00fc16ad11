"""The token engine: continues prompts with a key–value cache, in a batch whose finished rows cost nothing further."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.decoding import draw
from fledge.errors import UserError
from fledge.models.packed import packed, product
from fledge.policy import TokenPolicy


@dataclass(frozen=True)
class Completion:
    """What one row added to its prompt. The stop token, where it came, is the last token: stopping is an action."""

    prompt: list[int]
    tokens: list[int]
    logp: list[float]  # under the distribution that was sampled
    stopped: bool  # by the stop token; otherwise by the length limit


@torch.inference_mode()
def generate(
    policy: TokenPolicy,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop: int,
    generator: torch.Generator | None = None,
    samples: int = 1,
    on_token: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """`samples` completions of each prompt, side by side: len(prompts)·samples rows.

    Every row owns max_new_tokens uniform numbers, drawn before the first token: what it says does not depend on when its
    neighbours finish. A prompt is read once however often it is continued. on_token(row, token) is called as tokens come.
    Raises UserError for an empty prompt or one that leaves no room in the context.
    """
    context = policy.network.config.context
    for i, prompt in enumerate(prompts):
        if not prompt:
            raise UserError(f"prompt {i} is empty: generation needs one token or more to continue.")
        if len(prompt) >= context:
            raise UserError(
                f"prompt {i} has {len(prompt)} tokens and the model's context is {context}: shorten the prompt, "
                "or train a model with a longer `context`."
            )
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens={max_new_tokens} was given: it must be 1 or more.")
    training = policy.training
    policy.eval()
    state = _Rows(policy, prompts, max_new_tokens, stop, generator, samples, on_token)
    while state.live:
        state.advance()
    policy.train(training)
    return state.completions()


class _Rows:
    """The bookkeeping of one batch: live rows fill the first lanes; a finished row's lane is taken by the last live one."""

    def __init__(
        self,
        policy: TokenPolicy,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        stop: int,
        generator: torch.Generator | None,
        samples: int,
        on_token: Callable[[int, int], None] | None,
    ) -> None:
        self.policy, self.stop, self.on_token = policy, stop, on_token
        self.network = packed(policy.network)
        self.unembed = product(policy.network.unembedding)
        network, device = self.network, policy.network.unembedding.device
        self.prompts = [list(prompt) for prompt in prompts for _ in range(samples)]
        rows = len(self.prompts)
        lengths = [len(prompt) for prompt in prompts]
        longest = max(lengths)
        self.room = [min(max_new_tokens, network.config.context - len(p)) for p in self.prompts]
        # numbers come from the generator's own device (a CPU generator gives the same tokens whatever the device)
        self.uniform = torch.rand(rows, max_new_tokens, generator=generator).to(device)
        self.tokens = torch.zeros(rows, max_new_tokens, dtype=torch.long, device=device)
        self.logp = torch.zeros(rows, max_new_tokens, device=device)
        self.count = [0] * rows  # tokens each row has said
        self.stopped = [False] * rows

        padded = torch.zeros(len(prompts), longest, dtype=torch.long)
        for i, prompt in enumerate(prompts):
            padded[i, : lengths[i]] = torch.as_tensor(prompt)
        self.cache = network.cache(len(prompts), min(longest + max_new_tokens, network.config.context))
        hidden = network.prefill(padded.to(device), self.cache)
        last = hidden[torch.arange(len(prompts)), torch.tensor(lengths) - 1]  # [prompts, D]
        if samples > 1:
            self.cache.repeat(samples)
            last = last.repeat_interleave(samples, 0)
        self.live = list(range(rows))  # the row in each lane
        self.lengths = torch.tensor([len(p) for p in self.prompts], device=device)  # [lanes]: tokens in the cache
        self.said = 0  # tokens every live row has said
        self._say(last)

    def advance(self) -> None:
        """One more token for every live row."""
        lanes = len(self.live)
        longest = (
            max(len(self.prompts[row]) for row in self.live) + self.said - 1
        )  # of `lengths`: the last token is not in the cache
        hidden = self.network.step(self.current, self.lengths[:lanes], longest, self.cache)
        self.lengths[:lanes] += 1
        self._say(hidden)

    def _say(self, hidden: Tensor) -> None:
        logits = self.policy.logits(hidden, self.unembed)  # [lanes, V]
        rows = torch.tensor(self.live, device=logits.device)
        if self.policy.rule.greedy:
            action = logits.argmax(-1)
            logp = torch.zeros_like(action, dtype=self.logp.dtype)  # greedy is certain of what it does
        else:
            action, logp = draw(logits, self.uniform[rows, self.said])
        self.tokens[rows, self.said] = action
        self.logp[rows, self.said] = logp.to(self.logp.dtype)
        self.said += 1
        said = action.tolist()
        finished = []
        for lane, (row, token) in enumerate(zip(self.live, said, strict=True)):
            self.count[row] = self.said
            self.stopped[row] = token == self.stop
            if self.on_token is not None:
                self.on_token(row, token)
            if token == self.stop or self.said >= self.room[row]:
                finished.append(lane)
        for lane in reversed(finished):  # from the back: the last lane is always live or just closed
            final = len(self.live) - 1
            if lane != final:
                self.cache.move(final, lane)
                self.lengths[lane] = self.lengths[final]
                self.live[lane] = self.live[final]
                action[lane] = action[final]
            self.live.pop()
        self.current = action[: len(self.live)]

    def completions(self) -> list[Completion]:
        tokens, logp = self.tokens.tolist(), self.logp.tolist()
        return [
            Completion(prompt, tokens[i][:n], logp[i][:n], stopped)
            for i, (prompt, n, stopped) in enumerate(zip(self.prompts, self.count, self.stopped, strict=True))
        ]
