"""What the figures of a run are called, how their values are written, and which of them belong in
one picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fledge.runs.landmarks import LogRow

_LARGEST = 1e300
_PREFIXES = ("validation_", "held_out_", "test_")
_SHARES = {
    "exact_match",
    "pair_accuracy",
    "accuracy",
    "entity_f1",
    "macro_f1",
    "precision",
    "recall",
    "retrieval",
    "clip_fraction",
    "stopped",
    "truncated_share",
    "stop_rate",
    "kept",
    "cut_actions",
    "dropped_share",
}
_SHARES |= {"reconstructed", "grammatical", "distinct", "edited", "edited_number"}
_SHARES |= {"match_score", "score_earlier", "won", "drawn", "lost", "first_won", "agreement"}
_SHARES |= {"foretold_within_90", "seen_pairs"}
_SHARES |= {"zero_spread_groups", "unsolved_groups", "sampled_exact_match"}
BOOKKEEPING = {"step", "tokens", "rows", "seconds", "updates", "world_steps", "steps_taken"}
BOOKKEEPING |= {"cells"}
_WORDS = {
    "kl": "KL from the start",
    "kl_k1": "by k1, whose noise may fall below 0",
    "kl_k3": "by k3",
    "kl_exact": "exact at each step",
    "log_success": "log p(right)",
    "entity_f1": "F1 of entities",
    "macro_f1": "F1, the mean over labels",
    "retrieval": "own partner the nearest",
    "spearman": "Spearman's ρ",
    "elbo": "bound on log p(x)",
    "rate": "KL of the codes, nats",
    "distortion": "nats of saying it again",
    "twin_rate": "without remedies: KL of the codes, nats",
    "twin_distortion": "without remedies: nats of saying it again",
    "information": "nats that codes know, at least",
    "grammar_nats": "nats of the test part, by the grammar itself",
    "edited": "moved from the present to the past, and grammatical",
    "edited_number": "and of the same number",
    "sample_nats": "nats of grammatical samples, by the grammar",
    "squared_error": "weighted squared error of log counts",
    "half_distance": "−½ squared distance to the nearest centre",
    "smallest_weight": "weight of the smallest component",
    "bound": "bound on log p(right)",
    "zero_spread_groups": "groups that all earned the same",
    "unsolved_groups": "groups without a right answer",
    "effective_sample_size": "effective sample size",
    "teacher_kl": "KL from the teacher",
    "base_kl": "KL from the base, nats a token",
    "loss_rise_bound": "loss rise at the most, whatever had followed",
    "probability_change_bound": "change of any event's probability at the most, on average",
    "worst_error": "error of the worst matrix, of its outputs' squares",
    "grad_norm": "gradient norm",
    "kl_coefficient": "KL coefficient β",
    "policy_kl": "KL within the update",
    "reward_model_score": "reward model's score",
    "seconds": "time",
    "drift": "engine–trainer drift",
    "masked_nats": "nats a masked token",
    "replaced_nats": "nats a token, of telling which are replaced",
    "evaluation_return": "judged, without exploring",
    "test_evaluation_return": "the kept agent, in episodes that steered nothing",
    "episode_return": "while learning",
    "td_error": "TD error",
    "match_score": "score against UCT",
    "score_earlier": "score against the network of the evaluation before",
    "elo": "Elo, UCT having 0",
    "elo_margin": "half of Elo's 95 % interval",
    "policy_loss": "cross entropy to the search's policy, nats",
    "value_loss": "squared error of the value",
    "agreement": "likeliest move is the search's",
    "foretold_error": "error of the next step as foretold, in spreads of a change",
    "foretold_within_90": "next steps in the interval for 90 %",
    "q": "Q of what was done",
    "cut_actions": "actions beyond the bounds, cut",
    "log10_exploitability": "log₁₀ of what a best response wins more",
    "exploitability": "what a best response wins more",
    "game_value": "what the first player wins",
    "positive_regret": "positive regret an iteration",
    "counts_apart": "largest difference of counts, expert and model",
    "taken": "share of proposals that are taken",
    "chains_apart": "how far chains are apart (R̂, 1: not at all)",
    "earned": "best policy of the inferred rewards, by the true ones",
    "model_earns": "the model, by the true rewards",
    "best_earns": "the best that can be earned",
    "uncertainty": "what is not known, nats",
    "foretold": "how likely what came was",
    "nats_apart": "KL from the exact posterior to the network's, nats an action",
    "nats_apart_at_the_end": "the same after the last action of a walk",
    "uncertainty_at_the_end": "what is not known after a walk, exactly, nats",
    "balance": "balance of experts (1: even)",
    "router_z": "squared log-sum of routers' logits",
    "routing_entropy": "entropy of routing, nats",
    "dropped_share": "choices beyond the experts' capacity",
    "busiest_expert": "load of the busiest expert (1: even)",
}


@dataclass(frozen=True)
class ChartPlan:
    """One chart: the figures it takes (a `held_out_` one goes with its like), and where its axis
    must reach.
    """

    title: str
    bases: tuple[str, ...]
    unit: str = ""
    low: float | None = None
    high: float | None = None


PICTURES = (
    ChartPlan("Return", ("evaluation_return", "episode_return"), "reward of an episode"),
    ChartPlan("Elo", ("elo",), "points, UCT having 0"),
    ChartPlan("Match score", ("match_score", "score_earlier"), low=0, high=1),
    ChartPlan("Bound", ("elbo", "log_likelihood", "half_distance"), "nats a point"),
    ChartPlan("Loss", ("loss",), "nats per token"),
    ChartPlan("KL of the codes", ("rate", "twin_rate"), "nats", low=0),
    ChartPlan("Weighted squared error", ("squared_error",), "of the logarithm of a count", low=0),
    ChartPlan("Bits per byte", ("bits_per_byte",)),
    ChartPlan("Masked tokens", ("masked_nats",), "nats a masked token"),
    ChartPlan("Replaced tokens", ("replaced_nats",), "nats a token"),
    ChartPlan("Right", ("masked_accuracy", "replaced_accuracy", "next_accuracy"), low=0, high=1),
    ChartPlan("Exact match", ("exact_match",), low=0, high=1),
    ChartPlan("Reward", ("reward",)),
    ChartPlan("True score", ("true_score", "score"), low=0, high=1),
    ChartPlan("Accuracy", ("pair_accuracy", "accuracy"), low=0, high=1),
    ChartPlan("Entities", ("entity_f1", "precision", "recall"), low=0, high=1),
    ChartPlan(
        "KL from the start", ("kl", "kl_k1", "kl_k3", "kl_exact"), "nats per completion", low=0
    ),
    ChartPlan("Exploitability", ("log10_exploitability",), "powers of ten of a point"),
    ChartPlan("Entropy", ("entropy",), "nats per token", low=0),
)


def strip_part(name: str) -> str:
    """The figure without what it was measured on: `validation_loss` is a `loss`."""
    return next(
        (name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix)), name
    )


def spell_name(name: str) -> str:
    """A figure's name in words."""
    return _WORDS.get(name, name.replace("held_out_", "held-out ").replace("_", " "))


def is_number(value: Any) -> bool:
    """Whether a chart can hold it: the difference of two floats near the end of their range is
    infinite.
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def is_share(name: str) -> bool:
    """Whether the figure is a share of a whole, between 0 and 1; an `aligned_exact_match` is one
    too.
    """
    return any(name == share or name.endswith(f"_{share}") for share in _SHARES)


def format_value(name: str, value: Any) -> str:
    """A value with as many digits as are worth reading: `43.8 %` (unbreakable), `2.41`, `3.0e-04`,
    `4 min 12 s`.
    """
    if value is None:
        return "not a number"
    if not is_number(value):
        return str(value)
    if name == "seconds" or name.endswith("_seconds"):
        return format_duration(value)
    if is_share(name):
        return f"{100 * value:.1f}\u00a0%"
    size = abs(value)
    if isinstance(value, int) or size >= 1000:
        return f"{value:,.0f}"
    if value and size < 1e-3:
        return f"{value:.1e}"
    return f"{value:.{1 if size >= 100 else 2 if size >= 1 else 3}f}"


def format_duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `4 min 12 s`, `2 h 5 min`, `3 days`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} days"


def format_size(size: int) -> str:
    """Bytes in the unit that leaves one to three digits before the point."""
    amount, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


def read_latest(rows: Iterable[LogRow]) -> tuple[dict[str, float], int]:
    """The last value of each figure that has one, and how many steps were made: in the world, where
    those are counted. Bookkeeping is left out.
    """
    last: dict[str, float] = {}
    steps = 0
    for row in rows:
        if row.get("step") is not None:
            steps = max(steps, row.get("world_steps", row["step"]))
        if is_number(row.get("step")):
            last |= {k: v for k, v in row.items() if k not in BOOKKEEPING and is_number(v)}
    return last, int(steps)


def choose_headline(last: Mapping[str, float]) -> tuple[str, float] | None:
    """The figure that matters most and its last value: test before validation before trained-on, a
    success before a loss.
    """
    for wanted in (
        "exact_match",
        "evaluation_return",
        "pair_accuracy",
        "entity_f1",
        "spearman",
        "retrieval",
        "accuracy",
        "true_score",
        "score",
        "bits_per_byte",
        "log_likelihood",
        "elbo",
        "masked_nats",
        "replaced_nats",
        "exploitability",
        "loss",
        "reward",
    ):
        names = [name for name in last if strip_part(name) == wanted]
        if names:
            # The test part's, read once at the end, then one that steered, then one that was
            # trained on.
            name = min(names, key=lambda n: (not n.startswith("test_"), n == wanted))
            return name, last[name]
    return None
