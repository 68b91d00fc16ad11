"""How people play a game they meet for the first time: level-k, the cognitive hierarchy, and
quantal response.

Level-k: Stahl & Wilson 1994; Nagel 1995. Cognitive hierarchy: Camerer, Ho & Chong 2004, eq. 1.
Logit equilibrium: McKelvey & Palfrey 1995, definition 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.evidence import Evidence, single
from fledge.plan.minds.planned import say_log_policy
from fledge.plan.minds.scene_file import SceneFile, is_finite

FIELDS = ("rows", "columns", "row_pays", "column_pays", "levels", "tau", "rationality", "played")
Pair = tuple[Tensor, Tensor]  # what the row player and the column player do
ROUNDS = 30  # of Newton's method; it takes five
MOST_STEPS = 20_000  # from β = 0; half a minute


def respond(pays: Tensor, other: Tensor, beta: float) -> Tensor:
    """The answer to what the other does, by β.  [m, n], [n] -> [m]"""
    return say_log_policy(pays @ other, beta).exp()


def level_k(row_pays: Tensor, column_pays: Tensor, levels: int, beta: float = math.inf) -> Pair:
    """Level 0 plays anything, level k answers level k − 1.  [m, n] both -> [K+1, m], [K+1, n]"""
    m, n = row_pays.shape
    rows, columns = [spread(m)], [spread(n)]
    for _ in range(levels):
        row = respond(row_pays, columns[-1], beta)
        columns.append(respond(column_pays.T, rows[-1], beta))
        rows.append(row)
    return torch.stack(rows), torch.stack(columns)


def cognitive_hierarchy(
    row_pays: Tensor, column_pays: Tensor, levels: int, tau: float, beta: float = math.inf
) -> Pair:
    """Level k answers all lower levels, each as frequent as Poisson(τ) has it.  -> [K+1, m], [K+1,
    n]
    """
    share = poisson(levels, tau)
    rows, columns = [spread(row_pays.shape[0])], [spread(row_pays.shape[1])]
    for k in range(1, levels + 1):
        below = share[:k] / share[:k].sum()
        row = respond(row_pays, below @ torch.stack(columns), beta)
        columns.append(respond(column_pays.T, below @ torch.stack(rows), beta))
        rows.append(row)
    return torch.stack(rows), torch.stack(columns)


def quantal_response(row_pays: Tensor, column_pays: Tensor, beta: float) -> Pair:
    """Logit equilibrium: each answers the other by β. It is followed from β = 0, where everything
    is as likely, by Newton's method at each of many β on the way: the principal branch (Turocy
    2005), unless that turns back.  -> [m], [n]

    Raises UserError where that does not settle, and for payoffs that take too many steps.
    """
    m, n = row_pays.shape
    point = torch.cat([spread(m), spread(n)])
    # Only what one gains over another against the same is answered, not how much all are paid:
    # without that nothing is lost to rounding where all are paid a million.
    row_pays = row_pays - row_pays.mean(0)
    column_pays = column_pays - column_pays.mean(1, keepdim=True)
    largest = float(torch.maximum(gap(row_pays, 0), gap(column_pays, 1)))
    steps, missing = max(1, math.ceil(8 * beta * largest)), point
    if steps > MOST_STEPS:
        raise UserError(
            f"a quantal response at rationality {beta:.3g} to payoffs {largest:,.4g} apart is all "
            f"but certain, and takes too long: give one of {MOST_STEPS / 16 / largest:.2g} or less."
        )
    for step in range(1, steps + 1):
        here = beta * step / steps
        for _ in range(ROUNDS):
            row = respond(row_pays, point[m:], here)
            column = respond(column_pays.T, point[:m], here)
            missing = torch.cat([row, column]) - point
            if float(missing.abs().max()) < 1e-14:
                break
            slope = torch.eye(m + n, dtype=torch.float64)
            slope[:m, m:] = -here * ((torch.diag(row) - torch.outer(row, row)) @ row_pays)
            slope[m:, :m] = -here * (
                (torch.diag(column) - torch.outer(column, column)) @ column_pays.T
            )
            point = point + torch.linalg.solve(slope, missing)
    if not float(missing.abs().max()) < 1e-12:
        raise UserError(
            f"the quantal response at rationality {beta:.3g} does not settle: give a smaller one."
        )
    return point[:m], point[m:]


def gap(pays: Tensor, own: int) -> Tensor:
    """The most that one answer gains over another. own: the axis of who is paid."""
    return (pays.amax(own) - pays.amin(own)).max()


def spread(n: int) -> Tensor:
    return torch.full((n,), 1 / n, dtype=torch.float64)


def poisson(levels: int, tau: float) -> Tensor:
    """P(level), cut off after the last and scaled.  -> [K+1]"""
    k = torch.arange(levels + 1, dtype=torch.float64)
    return (k * math.log(tau) - torch.lgamma(k + 1)).softmax(0)


def read_game(file: SceneFile) -> Evidence:
    """Which level is the row player, out of what they played?  Raises UserError."""
    file.check_names(FIELDS)
    rows, columns = file.names("rows"), file.names("columns")
    row_pays = read_matrix(file, "row_pays", len(rows), len(columns))
    if "column_pays" in file.fields:
        column_pays = read_matrix(file, "column_pays", len(rows), len(columns))
    elif len(rows) == len(columns):
        column_pays = row_pays.T
    else:
        raise file.wrong("column_pays", f"{len(rows)} lists of {len(columns)} numbers")
    levels, tau = file.whole("levels", 3, 1, 20), file.number("tau", 1.5, 1e-6)
    beta = file.number("rationality", 3.0, 1e-9)
    played = file.fields.get("played", [])
    if not isinstance(played, list) or any(each not in rows for each in played) or not played:
        raise file.wrong("played", f"a list of what the row player did: {', '.join(rows)}")
    noisy, _ = cognitive_hierarchy(row_pays, column_pays, levels, tau, beta)
    names = [f"level {k}" for k in range(levels + 1)]
    steps = noisy.log().T[[rows.index(each) for each in played]]
    tables = []
    sure = (level_k(row_pays, column_pays, levels), cognitive_hierarchy(
        row_pays, column_pays, levels, tau
    ))  # fmt: skip
    for title, note, (by_row, by_column) in (
        ("Level-k", "level 0 plays anything, each other level the best answer to the one below",
         sure[0]),
        ("Cognitive hierarchy", f"each level the best answer to all below, as Poisson({tau:g})",
         sure[1]),
    ):  # fmt: skip
        lines = [
            [name, *(f"{100 * p:.1f} %" for p in [*row.tolist(), *column.tolist()])]
            for name, row, column in zip(names, by_row, by_column, strict=True)
        ]
        heads = ["", *(f"row {x}" for x in rows), *(f"column {x}" for x in columns)]
        tables.append((title, note, heads, lines))
    row, column = quantal_response(row_pays, column_pays, beta)
    lines = [["row", x, f"{100 * p:.2f} %"] for x, p in zip(rows, row.tolist(), strict=True)]
    lines += [["column", x, f"{100 * p:.2f} %"]
              for x, p in zip(columns, column.tolist(), strict=True)]  # fmt: skip
    tables.append(("Quantal response", f"logit equilibrium at rationality {beta:g}",
                   ["", "", "chance"], lines))  # fmt: skip
    asked = {f"plays {name} next": noisy[:, i] for i, name in enumerate(rows)}
    about = f"{len(rows)} × {len(columns)} game, levels 0 to {levels}, {len(played)} plays"
    return Evidence(
        poisson(levels, tau), played, steps, {"level": single(names)}, about, tables, asked
    )


def read_matrix(file: SceneFile, name: str, m: int, n: int) -> Tensor:
    given = file.fields.get(name)
    if (
        not isinstance(given, list)
        or len(given) != m
        or any(not isinstance(row, list) or len(row) != n for row in given)
        or not all(is_finite(each) for row in given for each in row)
    ):
        raise file.wrong(name, f"{m} lists of {n} numbers, a list for each row")
    return torch.tensor(given, dtype=torch.float64)
