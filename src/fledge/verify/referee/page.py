"""docs/referee.md: every row of the referee's table as it was measured, with the equations that
the differences come from.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

HEAD = """# The referee: whose gradient is right?

`fledge verify` holds our estimators against enumeration. The referee puts other people's trainers
before the same oracles: each is really built from its own installed package, its own
`training_step` computes and differentiates the loss of a model that is a table of logits, and the
gradient is read off the table. `make referee` measures anew; `fledge verify peer=trl:grpo` prints
the rows of one trainer, with settings of your own as further words.

{measured}

The language has 3 symbols, the third ends a sequence, and at most 2 steps: 7 sequences. A group is
3 samples of one prompt. The expectation is a sum over all 84 groups, each with its probability (for
pairs: all 21 whose chosen side earns more, each as likely). Rewards, policy and reference are fixed
numbers.

- **equation**: what a step follows, found among {candidates} that are written out from exact scores
  without a line of the trainer's: it fits to 2·10⁻⁶ on nine drawn batches of two groups, or eight
  of six rows or of two pairs. This is the second way by which every row is checked.
- **cosine, scale, bias**: of the expected gradient beside the exact one, ∇(E[r] − β·KL(π‖π_ref));
  for likelihoods ∇E[log π] under the data; for pairs the mean of the loss as its paper has it.
  Scale is the c for which c·g is nearest, bias is ‖E ĝ − c·g‖/‖c·g‖.
- **noise**: the variance of a step, as a multiple of plain REINFORCE's with as many samples.
- **cut, padded, masked**: what two micro-batches, three tokens of padding, and other tokens under
  the mask change at most.
"""

WHY = """
## Where the differences come from

- **A mean over tokens is a ratio.** Σ_i A_i Σ_t s_it / Σ_i |y_i| divides by a length that is itself
  sampled: its expectation is not the gradient of E[r], and neither is that of a mean over each
  sequence. Both prefer some lengths (Liu et al. 2025). The same holds of the likelihood of
  tokens beside that of sequences: there it is the usual objective, and the row shows how far apart
  the two are.
- **A standard deviation of the group** divides by a number that the same samples made: the
  direction turns where the reward's spread and the score go together.
- **The group's mean holds the sample's own reward**: E[(r − mean)·s] = (G−1)/G · g, here ⅔; with
  the constant T = 2 beside it, ⅓. Leaving the sample out makes the scale 1.
- **k3 beside the loss**: with d = log π − log π_ref its gradient is (1 − e^−d)·s, of one token on
  average ∇KL(π_ref‖π), the other direction of the divergence. Times the ratio it is d·s: that of
  KL(π‖π_ref), without what a token's choice does to the later ones. In the reward (RLOO) the
  penalty is exact.
- **The mean over each micro-batch's tokens** (`bnpo`, and said so by its documents) depends on
  which rows lie together.
- **CISPO clips its weight at ε_max** = `epsilon_high`, which follows `epsilon` = 0.2 where it is
  not given: every weight on policy is then min(1, 0.2). At the recommended 5 it is 1.
- **Truncated sequences left out** are missed by the sum: what they earn, and what they are, no
  longer counts in the expectation.
- **IPO**: the paper's Δ is a difference of log-ratios of whole sequences; TRL's documents say that
  it averages them over tokens, after asking the authors.

What is not measured: the steps after the first on the same samples (clipping), other processes,
the resumed run, worlds (a step that is cut off beside one that ends), and the peers that the table
does not name.
"""


def render_page(rows: Sequence[Mapping[str, Any]], measured: str, candidates: int) -> str:
    """Markdown. rows: as `Ruling.as_json` gives them; measured: when and on what."""
    lines = [HEAD.format(measured=textwrap.fill(measured, 100), candidates=candidates)]
    for peer in dict.fromkeys(row["peer"] for row in rows):
        own = [row for row in rows if row["peer"] == peer]
        lines.append(f"## {peer} {own[0]['version']}\n")
        lines.append(
            "| setting | what is claimed | equation measured | cosine | scale | bias | noise "
            "| cut | padded | masked |"
        )
        lines.append("|---|---|---|---|---|---|---|---|---|---|")
        lines += [_render_row(row) for row in own]
        lines.append("")
        differences = [(row, fault) for row in own for fault in row["faults"]]
        lines += [f"- `{row['command']}`: {fault}." for row, fault in differences]
        lines += [""] if differences else []
    return "\n".join(lines) + WHY


def _render_row(row: Mapping[str, Any]) -> str:
    cells = [
        f"`{row['setting']}`",
        row["claim"],
        row["equation"] or _say_none(row["residual"]),
        _figure(row["cosine"], ".4f"),
        _figure(row["scale"], ".4f"),
        _figure(row["bias"], ".1%"),
        _figure(row["variance"], ".2f"),
        *(_change(row[name]) for name in ("pieces", "padding", "garbage")),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _say_none(residual: float | None) -> str:
    return "no number" if residual is None else f"none: the nearest is {residual:.1e} away"


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _change(value: float | None) -> str:
    if value is None:
        return "no number"
    return "0" if value < 1e-6 else f"{value:.1%}"
