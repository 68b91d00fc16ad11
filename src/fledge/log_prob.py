"""The distribution tokens are really drawn from, used by the sampler and by the trainer alike:
rule, support, log-probability.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.errors import UserError
from fledge.log_prob_kernel import score_rows, slope_rows, suits_kernel
from fledge.truncation import keep_nucleus, keep_top_k

Unembed = Callable[[Tensor], Tensor]  # [N, D] -> [N, V]

LARGE_VOCABULARY = 4096  # tokens: from here on the cumulative sum is taken in two parts
PIECE = 256  # tokens in one of them
# On a CPU: numbers of a chunk of logits, 32 MB, of which there are some three at a time; and the
# fewest rows, below which reading the weight costs more than multiplying by it.
CHUNK, FEWEST = 2**23, 128
KEPT = CHUNK  # numbers of the first chunks, which stand until the backward pass


@dataclass(frozen=True)
class Decoding:
    """How a token is chosen from the logits. Temperature divides them; then top-k; then the
    nucleus; then min-p; then one draw.

    Raises UserError for values that describe no distribution.
    """

    temperature: float = 1.0  # 0 is greedy
    top_k: int = 0  # 0 keeps every token
    top_p: float = 1.0  # nucleus mass; 1 keeps every token
    # tokens less than this times as likely as the likeliest are dropped; 0 keeps every token
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UserError(
                f"temperature={self.temperature} was given: it must be 0 (greedy) or more."
            )
        if self.top_k < 0:
            raise UserError(f"top_k={self.top_k} was given: it must be 0 (off) or more.")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p={self.top_p} was given: it must lie in (0, 1].")
        if not 0 <= self.min_p <= 1:
            raise UserError(f"min_p={self.min_p} was given: it must lie in [0, 1].")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0 or self.top_k == 1

    @property
    def truncates(self) -> bool:
        return not self.greedy and (self.top_k > 0 or self.top_p < 1 or self.min_p > 0)


PLAIN = Decoding()


def restrict(
    logits: Tensor, rule: Decoding, allowed: Tensor | None = None, keep: Tensor | None = None
) -> Tensor:
    """Logits of the distribution the rule samples from: divided by the temperature, −inf off the
    support.  [N, V] -> [N, V]

    allowed: [V] bool, the tokens that are actions at all. keep: [N], an action that is on the
    support whatever the rule says (one that was sampled earlier, when the weights were slightly
    different).
    min-p: Nguyen et al. 2024, §3.
    """
    if allowed is not None:
        logits = logits.masked_fill(~allowed, float("-inf"))
    if rule.temperature not in (0, 1):
        logits = logits / rule.temperature
    if rule.greedy or not rule.truncates:
        return logits
    with torch.no_grad():
        inside = None
        if 0 < rule.top_k < logits.shape[-1]:
            inside = keep_top_k(logits, rule.top_k)
        if rule.top_p < 1:
            left = logits if inside is None else logits.masked_fill(~inside, float("-inf"))
            nucleus = keep_nucleus(left.softmax(-1), rule.top_p)
            inside = nucleus if inside is None else inside & nucleus
        if rule.min_p > 0:
            near = logits >= logits.amax(-1, keepdim=True) + math.log(rule.min_p)
            inside = near if inside is None else inside & near
        if inside is None:  # a top_k of the whole vocabulary
            return logits
        if keep is not None:
            inside.scatter_(-1, keep[:, None], True)
    return logits.masked_fill(~inside, float("-inf"))


def draw(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """One action per row by inverting the cumulative distribution at `uniform`, and its
    log-probability.  [N, V], [N] -> [N], [N]

    One uniform number per row: 20 times cheaper than `torch.multinomial` on a CPU, and a row's draw
    depends on its own number only. A token of probability 0 is never drawn: its step in the
    cumulative sum has no width.
    """
    p = logits.softmax(-1)
    if p.shape[-1] < LARGE_VOCABULARY:
        action, _ = _find_step(p.cumsum(-1), uniform)
    else:
        # A cumulative sum goes number by number: that of the sums of pieces, then that of one piece
        # add up a thousand numbers in place of all.
        pieces = F.pad(p, (0, -p.shape[-1] % PIECE)).unflatten(-1, (-1, PIECE))
        mass = pieces.sum(-1)
        ends = mass.cumsum(-1)
        piece, point = _find_step(ends, uniform)
        begin = ends.gather(-1, (piece - 1).clamp(min=0)).where(piece > 0, 0.0)
        within = (point - begin) / mass.gather(-1, piece)  # how far into the piece, of its whole
        here = pieces[torch.arange(len(p), device=p.device), piece[:, 0]]
        place, _ = _find_step(here.cumsum(-1), within.clamp_(0, 1)[:, 0])
        action = piece * PIECE + place
    return action.squeeze(-1), p.gather(-1, action).squeeze(-1).log()


def _find_step(cumulative: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Where a cumulative sum passes `uniform` of its whole, and that point.  [N, M], [N] -> [N, 1]
    twice
    """
    whole = cumulative[:, -1]
    # Below the whole mass, even where the product rounds up to it: the step that reaches it belongs
    # to a token that can be drawn.
    point = torch.minimum(
        uniform.to(cumulative.dtype) * whole, torch.nextafter(whole, torch.zeros_like(whole))
    )[:, None]
    return torch.searchsorted(cumulative, point, right=True), point


class _ChunkedLogProb(torch.autograd.Function):
    """log π(action) and entropy from hidden states, a chunk of rows at a time: the logits [N, V]
    never exist whole.

    Where the weight does not learn (`fixed`) the gradient of log π is made beside it, ∂log π/∂h =
    W_a − Σ_v p(v) W_v: two matrix products for three. Else the backward pass computes each chunk's
    logits again: one more matrix product for memory that does not grow with N. The first chunks
    are spared it: their probabilities are kept (`kept` numbers at the most, what stands at a time
    anyway). A chunk is written in place from logits to gradient: on a CPU every further pass over
    it costs a tenth of its matrix product. Where the kernel reads the logits, it is the logits that
    are kept, in the product's precision: as many bytes.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        action: Tensor,
        rule: Decoding,
        allowed: Tensor | None,
        chunk: int,
        entropy: bool,
        cap: float,
        fixed: bool,
        kept: int,
        support: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        n = hidden.shape[0]
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        logp, normaliser, spread = (
            torch.zeros(n, dtype=dtype, device=hidden.device) for _ in range(3)
        )
        banned = None if allowed is None else (~allowed).nonzero().squeeze(-1)
        slope = torch.empty_like(hidden) if fixed else None
        spared: list[Tensor] = []

        simple = not (rule.truncates or entropy or cap) and support is None
        quick = simple and suits_kernel(hidden, weight, action, allowed)
        factor = 1 / _find_divisor(rule)

        def score(part: slice) -> None:  # whose logits are gone before the next are made
            if quick:
                read = hidden[part] @ weight.T
                logp[part], normaliser[part] = score_rows(read, banned, action[part], factor)
                if slope is not None:
                    away = slope_rows(read, banned, action[part], factor, normaliser[part])
                    slope[part] = away @ weight
                elif (part.start * len(weight) + read.numel()) * read.itemsize <= 4 * kept:
                    spared.append(read)
                return
            raw = cap_logits(hidden[part] @ weight.T, cap)
            logits = _logits(raw, rule, banned, action[part], _cut(support, part))
            logp[part] = logits.gather(-1, action[part, None]).squeeze(-1)
            if entropy:
                normaliser[part] = logits.logsumexp(-1)
                p = (logits - normaliser[part, None]).exp()
                spread[part] = normaliser[part] - (p * logits.masked_fill(p == 0, 0.0)).sum(-1)
                return
            # What `logsumexp` does, in place: it would hold the chunk twice.
            top = logits.amax(-1, keepdim=True)
            p = logits.sub_(top).exp_()
            mass = p.sum(-1, keepdim=True)
            normaliser[part] = (mass.log() + top).squeeze(-1)
            if slope is not None:
                # e_a − p before it is rounded to the product's precision: of a confident token
                # the difference of two rounded rows would be noise.
                away = p.div_(mass).neg_()
                away.scatter_add_(-1, action[part, None], torch.ones_like(away[:, :1]))
                slope[part] = away.to(hidden.dtype) @ weight
            elif part.start * len(weight) + p.numel() <= kept:
                spared.append(p.div_(mass))

        for a in range(0, n, chunk):
            score(slice(a, a + chunk))
        if slope is None:
            ctx.save_for_backward(hidden, weight, action, banned, normaliser, support, *spared)
        else:
            ctx.save_for_backward(slope)
        ctx.rule, ctx.chunk, ctx.entropy, ctx.cap, ctx.fixed = rule, chunk, entropy, cap, fixed
        ctx.quick = quick
        return logp - normaliser, spread

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        g_logp, g_entropy = gradients
        rule, chunk, cap = ctx.rule, ctx.chunk, ctx.cap
        scale = _find_divisor(rule)
        if ctx.fixed:
            (slope,) = ctx.saved_tensors
            return slope * (g_logp / scale)[:, None].to(slope.dtype), *[None] * 10
        hidden, weight, action, banned, normaliser, support, *spared = ctx.saved_tensors
        g_hidden = torch.empty_like(hidden)
        g_weight = torch.zeros_like(weight, dtype=normaliser.dtype)
        for number, a in enumerate(range(0, hidden.shape[0], chunk)):
            part = slice(a, a + chunk)
            h, slope = hidden[part], None
            if ctx.quick:
                read = spared[number] if number < len(spared) else h @ weight.T
                g = slope_rows(
                    read, banned, action[part], 1 / scale, normaliser[part], g_logp[part] / scale
                )
                g_hidden[part] = g @ weight
                g_weight += g.T @ h
                continue
            if number < len(spared):
                g = spared[number] * -g_logp[part, None]  # not in place: it may be asked again
            else:
                logits = cap_logits(h @ weight.T, cap)
                slope = 1 - (logits / cap).square_() if cap else None
                logp = _logits(logits, rule, banned, action[part], _cut(support, part))
                logp = logp.sub_(normaliser[part, None])
                if ctx.entropy:  # ∂H/∂logit = −p (log p + H)
                    p = logp.exp()
                    surprise = logp.masked_fill_(p == 0, 0.0)
                    here = -(p * surprise).sum(-1, keepdim=True)
                    g = p * (-g_logp[part, None] - g_entropy[part, None] * (surprise + here))
                else:
                    g = logp.exp_().mul_(-g_logp[part, None])
            g.scatter_add_(-1, action[part, None], g_logp[part, None])
            if scale != 1.0:
                g /= scale
            if slope is not None:
                g *= slope
            g = g.to(h.dtype)
            g_hidden[part] = g @ weight
            g_weight += g.T @ h
        return g_hidden, g_weight.to(weight.dtype), *[None] * 9


def _find_divisor(rule: Decoding) -> float:
    """Of the logits, by which their gradient is divided, too."""
    return rule.temperature if rule.temperature not in (0, 1) else 1.0


def size_chunk(chunk: int, weight: Tensor) -> int:
    """How many rows of logits exist at a time, of at most `chunk`.  weight [V, D]"""
    if weight.device.type != "cpu":
        return chunk
    return min(chunk, max(FEWEST, CHUNK // len(weight)))


def cap_logits(raw: Tensor, cap: float) -> Tensor:
    """c·tanh(z / c) of the logits z (Gemma Team 2024b, §2), z where c = 0; in float32 or better.
    [N, V] -> [N, V]
    """
    logits = raw.to(torch.promote_types(raw.dtype, torch.float32))
    return cap * torch.tanh(logits / cap) if cap else logits


def unembed(network: Any, hidden: Tensor, support: Tensor | None = None) -> Tensor:
    """The logits of hidden states, whole, in float32 or better.  [N, D] -> [N, V]

    support: as in `mask_support`.
    """
    last = find_unembedding(network)
    product = hidden @ last.T if isinstance(last, Tensor) else last(hidden)
    raw = cap_logits(product, find_cap(network))
    return raw if support is None else mask_support(raw, support)


def find_unembedding(network: Any) -> Tensor | Unembed:
    """The matrix that makes logits of hidden states [V, D], or what does it in place of one."""
    return getattr(network, "unembed", None) or network.unembedding


def find_cap(network: Any) -> float:
    """The cap of a network's logits; most networks have none, and need not say so."""
    return getattr(network, "logit_cap", 0.0)


def mask_support(logits: Tensor, support: Tensor) -> Tensor:
    """−inf, in place, for the tokens whose bit is not set, the lowest bit first, and for those
    beyond the last bit.  logits [N, V], support [N, W] uint8
    """
    places = torch.arange(8, dtype=torch.uint8, device=support.device)
    allowed = ((support[..., None] >> places) & 1).flatten(1)[:, : logits.shape[1]].bool()
    logits[:, : allowed.shape[1]].masked_fill_(~allowed, float("-inf"))
    logits[:, allowed.shape[1] :] = float("-inf")
    return logits


def _cut(support: Tensor | None, part: slice) -> Tensor | None:
    return None if support is None else support[part]


def _logits(
    logits: Tensor, rule: Decoding, banned: Tensor | None, action: Tensor, support: Tensor | None
) -> Tensor:
    """A chunk's fresh logits under the rule; `banned` are the numbers of the tokens that are no
    actions, `support` the bits of those that could have been said.
    """
    if support is not None:
        mask_support(logits, support)
    if banned is not None:
        # A few columns; `masked_fill` would read and write them all.
        logits.index_fill_(-1, banned, float("-inf"))
    return restrict(logits, rule, keep=action)


def log_prob(
    hidden: Tensor,
    weight: Tensor | Unembed,
    action: Tensor,
    rule: Decoding = PLAIN,
    allowed: Tensor | None = None,
    *,
    chunk: int = 1024,
    entropy: bool = False,
    cap: float = 0.0,
    support: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """log π(action) and entropy (nats; zeros unless asked for) under the rule.  hidden [N, D],
    weight [V, D] -> [N], [N]

    Softmax in float32 or better whatever the matrix product's precision. At most `chunk` rows of
    logits exist at a time; it changes memory and never the result. cap: of the logits, as in
    `cap_logits`. support: [N, W] uint8, as in `mask_support`. Where a function stands for the
    weight there is no gradient.
    """
    if rule.greedy:
        raise ValueError(
            "a greedy rule has no log-probability to train on: give a temperature above 0."
        )
    if not isinstance(weight, Tensor):
        return _look_up(hidden, weight, action, rule, allowed, chunk, entropy, support)
    learns = torch.is_grad_enabled() and hidden.requires_grad
    fixed = learns and not (weight.requires_grad or entropy or cap)
    kept = KEPT if learns and not (entropy or cap) else 0
    if torch.is_autocast_enabled(hidden.device.type):
        hidden, weight = (
            x.to(torch.get_autocast_dtype(hidden.device.type)) for x in (hidden, weight)
        )
    chunk = size_chunk(chunk, weight)
    with torch.autocast(hidden.device.type, enabled=False):
        apply: Any = _ChunkedLogProb.apply  # of which the stubs do not know what it returns
        return apply(
            hidden, weight, action, rule, allowed, chunk, entropy, cap, fixed, kept, support
        )


def _look_up(
    hidden: Tensor,
    unembed: Unembed,
    action: Tensor,
    rule: Decoding,
    allowed: Tensor | None,
    chunk: int,
    entropy: bool,
    support: Tensor | None,
) -> tuple[Tensor, Tensor]:
    logp, spread = hidden.new_zeros(len(action)), hidden.new_zeros(len(action))
    for begin in range(0, len(action), chunk):
        part = slice(begin, begin + chunk)
        raw = unembed(hidden[part])
        if support is not None:
            mask_support(raw, support[part])
        logits = restrict(raw, rule, allowed, action[part]).log_softmax(-1)
        logp[part] = logits.gather(-1, action[part, None])[:, 0]
        if entropy:
            spread[part] = -(logits.exp() * logits.masked_fill(logits.isinf(), 0)).sum(-1)
    return logp, spread
