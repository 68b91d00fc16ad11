"""What can act and be asked for log-probabilities. `TokenPolicy` is the one for language; a world's
policy has the same two verbs.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fledge.log_prob import PLAIN, Decoding, find_cap, find_unembedding, log_prob, restrict, unembed
from fledge.trained_state import copy_module
from fledge.weights_version import count_changes, raise_version, read_version


class Policy(Protocol):
    """Acts, and says how likely an action was. Rows stay rows: packing, masks and chunks hide
    inside.
    """

    def log_prob(self, obs: Tensor, action: Tensor, chosen: Tensor | None = None) -> Tensor:
        """log π(a_t|s_t), differentiable; only `chosen` [B, T] steps matter.  obs [B, T+1, *O],
        action [B, T, *A] -> [B, T]
        """
        ...

    def parameters(self) -> Any: ...


class TokenNetwork(Protocol):
    """What TokenPolicy asks of a network: hidden states for rows. The token engine samples from any
    that is causal. One whose logits are capped says so by an attribute `logit_cap`; one that reads
    the prompt of several rows once, by `shares_prompts` and `share_prompts`.
    """

    config: Any  # with `vocab_size` and `context`

    @property
    def unembedding(self) -> Tensor: ...
    def __call__(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor: ...
    def document_mask(self, tokens: Tensor) -> Tensor | None: ...


class Bound(Protocol):
    """What a completion may say, token by token, beside what the rule says of all tokens: a
    constraint of the engine's.
    """

    def pack_support(self, action: Tensor, chosen: Tensor) -> Tensor:
        """The tokens that might have been said at each chosen step, as bits, the lowest first; a
        completion begins where `chosen` does.  [B, T], [B, T] bool -> [N, W] uint8
        """
        ...


class TokenPolicy(nn.Module):
    """A language model as a policy over tokens, under a decoding rule.

    `allowed` [V] bool are the tokens that are actions: every special token but the stop token is
    never one, so a model can neither be trained to emit a role token nor forge one. Both the
    sampler and `log_prob` renormalise over it. `bound` does the same step by step: the engine
    samples within it, and `log_prob` follows it over the chosen steps of a row.

    `version` counts the changes of the network's weights: all policies over one network have the
    same. `Learner` and `load_state_dict` raise it; whoever writes weights by other hands calls
    `raise_version`.
    """

    allowed: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        allowed: Tensor | None = None,
        rule: Decoding = PLAIN,
        chunk: int = 1024,
        bound: Bound | None = None,
    ) -> None:
        super().__init__()
        self.network: Any = network  # a TokenNetwork
        count_changes(network)
        self.register_buffer("allowed", allowed, persistent=False)
        self.rule = rule
        self.chunk = chunk
        self.bound = bound

    @property
    def version(self) -> int:
        """Of the network's weights: how often they have changed."""
        return read_version(self.network)

    def raise_version(self) -> None:
        """The network's weights have just been written."""
        raise_version(self.network)

    @property
    def shares_prompts(self) -> bool:
        """Whether rows that begin with the same prompt are computed with it once."""
        return getattr(self.network, "shares_prompts", False)

    def hidden(self, tokens: Tensor, chosen: Tensor | None = None) -> Tensor:
        """chosen: the steps that are asked about, if not all are: others may then be anything.  [B,
        T], [B, T] -> [B, T, D]
        """
        mask = self.network.document_mask(tokens)
        if mask is None and chosen is not None and self.shares_prompts:
            mask = self.network.share_prompts(tokens, chosen)
        return self.network(tokens, mask)

    def log_prob(self, obs: Tensor, action: Tensor, chosen: Tensor | None = None) -> Tensor:
        """log π(a_t|s_t) under the rule; where `chosen` is given, only there, and 0 elsewhere.  [B,
        T+1], [B, T] -> [B, T]
        """
        return self.evaluate(obs, action, chosen)[0]

    def evaluate(
        self,
        obs: Tensor,
        action: Tensor,
        chosen: Tensor | None = None,
        *,
        entropy: bool = False,
        hidden: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy (nats; zeros unless asked for), both [B, T].  obs [B, T or
        T+1], action [B, T]

        hidden: the network's output for obs if it is known already, [B, T or T+1, D].
        """
        if hidden is None:
            hidden = self.hidden(obs[:, : action.shape[1]], chosen)
        hidden = hidden[:, : action.shape[1]]
        if chosen is None:
            if self.bound is not None:
                raise ValueError("a bound policy has to be told which steps were chosen.")
            logp, spread = self._flat(hidden.flatten(0, 1), action.flatten(), entropy)
            return logp.view(action.shape), spread.view(action.shape)
        support = self.pack_support(action, chosen)
        logp, spread = self._flat(hidden[chosen], action[chosen], entropy, support)
        blank = logp.new_zeros(action.shape)
        return blank.masked_scatter(chosen, logp), blank.masked_scatter(chosen, spread)

    def pack_support(self, action: Tensor, chosen: Tensor) -> Tensor | None:
        """Of the bound, for `logits` of the chosen steps; None where there is none."""
        if self.bound is None:
            return None
        return self.bound.pack_support(action, chosen).to(action.device)

    def _flat(
        self, hidden: Tensor, action: Tensor, entropy: bool, support: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return log_prob(
            hidden,
            find_unembedding(self.network),
            action,
            self.rule,
            self.allowed,
            chunk=self.chunk,
            entropy=entropy,
            cap=find_cap(self.network),
            support=support,
        )

    def logits(
        self, hidden: Tensor, keep: Tensor | None = None, support: Tensor | None = None
    ) -> Tensor:
        """Logits of the distribution really sampled, −inf off its support, for a few positions.
        [N, D] -> [N, V]

        keep: [N], actions that were sampled earlier and are on the support, as in `log_prob`, even
        where rounding would now put them off it. support: of `pack_support`, for these positions.
        """
        raw = unembed(self.network, hidden, support)
        return restrict(raw, self.rule, self.allowed, keep)

    def score_norm(self, obs: Tensor, action: Tensor, chosen: Tensor) -> Tensor:
        """‖∇ log π(a_t|s_t)‖² with respect to the logits, ‖e_a − p‖² = 1 − 2 p(a) + Σ_v p(v)²; 0
        where not chosen.  [B, T+1], … -> [B, T]
        """
        hidden, own = self.hidden(obs[:, :-1])[chosen], action[chosen]  # [N, D], [N]
        norms, support = [], self.pack_support(action, chosen)
        for begin in range(0, len(own), self.chunk):
            part = slice(begin, begin + self.chunk)
            done, bits = own[part], None if support is None else support[part]
            p = self.logits(hidden[part], keep=done, support=bits).softmax(-1)  # [N, V]
            norms.append(
                p.scatter_add(-1, done[:, None], -torch.ones_like(p[:, :1])).square().sum(-1)
            )
        empty = torch.zeros(chosen.shape, dtype=norms[0].dtype, device=chosen.device)
        return empty.masked_scatter(chosen, torch.cat(norms))

    def with_rule(self, rule: Decoding) -> TokenPolicy:
        """The same network (shared, not copied) under another rule."""
        return TokenPolicy(self.network, self.allowed, rule, self.chunk, self.bound)

    def bind(self, bound: Bound | None) -> TokenPolicy:
        """The same network, saying only this; None for anything."""
        return TokenPolicy(self.network, self.allowed, self.rule, self.chunk, bound)

    def frozen_copy(self) -> TokenPolicy:
        """The policy as it is now, for ever: the reference of a KL. What is frozen already, as the
        base of an adapter is, is shared and not copied.
        """
        network = copy_module(self.network)
        twin = TokenPolicy(network, self.allowed, self.rule, self.chunk, self.bound)
        return twin.requires_grad_(False).eval()
