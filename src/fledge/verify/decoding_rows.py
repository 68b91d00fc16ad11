"""What is really sampled, beside the rule's definition: temperature, top-k, top-p, min-p, a
penalty, the draw, and log-probabilities.
"""

from __future__ import annotations

import torch

from fledge.engine.logits import process_logits
from fledge.engine.request import Request
from fledge.engine.row import Row as Sampled
from fledge.exact.enumerable import truncated
from fledge.log_prob import Decoding, draw, log_prob, restrict
from fledge.verify.laboratory import Hardware
from fledge.verify.rows import TableRow

RULES = {
    "temperature": {"temperature": 0.6},
    "top-k": {"top_k": 3},
    "top-p": {"top_p": 0.7},
    "min-p": {"min_p": 0.3},
    "all of them": {"temperature": 1.4, "top_k": 4, "top_p": 0.9, "min_p": 0.1},
}
DRAWS = 4000  # numbers that cut 0 to 1 into equal parts


def tables(hardware: Hardware, rows: int = 40, vocabulary: int = 6) -> torch.Tensor:
    """Logits of every temper, from nearly even to nearly certain.  -> [N, V]"""
    random = torch.Generator().manual_seed(71)
    made = (
        torch.randn(rows, vocabulary, dtype=torch.float64, generator=random)
        * torch.linspace(0.1, 4, rows)[:, None]
    )
    return made.to(hardware.device, hardware.dtype)


def rule_row(number: int, name: str, hardware: Hardware) -> TableRow:
    """The distribution by sorting and adding up, what the draw makes of evenly spaced numbers, and
    log-probability with its gradient.
    """
    logits, rule = tables(hardware), Decoding(**RULES[name])
    exact = truncated(logits.double().cpu(), **RULES[name])
    p = exact.softmax(-1)
    measured = restrict(logits, rule).double().cpu().softmax(-1)
    error = float((measured - p).abs().max())
    even = (torch.arange(DRAWS, dtype=torch.float64) + 0.5) / DRAWS
    drawn = 0.0
    for i in range(len(logits)):
        action, logp = draw(
            restrict(logits[i : i + 1], rule).expand(DRAWS, -1), even.to(hardware.device)
        )
        share = torch.bincount(action.cpu(), minlength=p.shape[1]) / DRAWS
        drawn = max(drawn, float((share - p[i]).abs().max()))
        error = max(error, float((logp.double().cpu().exp() - p[i][action.cpu()]).abs().max()))
    own = p.argmax(-1)  # an action that is always on the support
    hidden = logits.clone().requires_grad_(True)
    one = torch.eye(p.shape[1], dtype=logits.dtype, device=hardware.device)  # the logits themselves
    logp, entropy = log_prob(hidden, one, own.to(hardware.device), rule, chunk=7, entropy=True)
    table = logits.double().cpu().requires_grad_(True)
    inside = exact > -torch.inf
    said = (
        (table / RULES[name].get("temperature", 1.0))
        .masked_fill(~inside, -torch.inf)
        .log_softmax(-1)
    )
    spread = -torch.where(inside, said.exp() * said.masked_fill(~inside, 0.0), 0.0).sum(-1)
    mine = said.gather(-1, own[:, None]).squeeze(-1)
    slopes = (
        torch.autograd.grad((logp + 0.3 * entropy).sum(), hidden)[0],
        torch.autograd.grad((mine + 0.3 * spread).sum(), table)[0],
    )
    pairs = ((logp, mine), (entropy, spread), slopes)
    error = max(
        error, *(float((a.detach().double().cpu() - b.detach()).abs().max()) for a, b in pairs)
    )
    bound = 1 / DRAWS + hardware.tolerance
    statement = (
        f"distribution, log-probability, entropy and their gradient to {error:.1e}; draws within "
        f"{drawn:.1e}"
    )
    figure = error if drawn <= bound else drawn
    return TableRow(
        f"D{number}",
        f"decoding, {name}",
        "is the rule by its definition",
        figure,
        hardware.tolerance,
        statement,
    )


def penalty_row(hardware: Hardware) -> TableRow:
    """What stands in the prompt or was said is divided by 1.5 where above 0, else multiplied
    (Keskar et al. 2019, §4.1).
    """
    logits = tables(hardware)
    request = Request(
        prompt=[1, 4], repetition_penalty=1.5, presence_penalty=0.25, logit_bias={2: 0.5}
    )
    error = 0.0
    for row in logits:
        measured = row.clone()
        sampled = Sampled(0, request, [1, 4], 1)
        sampled.said = [0, 4]
        process_logits(measured, sampled)
        exact = row.tolist()
        exact[2] += 0.5
        for token in (0, 1, 4):
            exact[token] = exact[token] / 1.5 if exact[token] > 0 else exact[token] * 1.5
        for token in (0, 4):
            exact[token] -= 0.25
        error = max(
            error,
            float((measured - torch.tensor(exact, dtype=torch.float64).to(measured)).abs().max()),
        )
    statement = f"logits to {error:.1e}"
    return TableRow(
        "D6",
        "decoding, penalties and a bias",
        "are their definition",
        error,
        hardware.tolerance,
        statement,
    )


def decoding_rows(hardware: Hardware) -> list[TableRow]:
    return [
        *(rule_row(n, name, hardware) for n, name in enumerate(RULES, 1)),
        penalty_row(hardware),
    ]
