"""The pages that show how something works: each writes one HTML file and returns what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fledge.front.verbs import look_by_verb

if TYPE_CHECKING:
    from fledge.front.model import Model
    from fledge.front.trained_run import TrainedRun

    Speaks = str | Path | Model | TrainedRun


def show_sampling(
    base: Speaks | None = None, *, verbose: bool = False, **fields: Any
) -> dict[str, Any]:
    """What temperature, top-k, nucleus and min-p do to a distribution over the next token."""
    return _show("sampling", base, fields, verbose)


def show_rope(
    base: Speaks | None = None, *, verbose: bool = False, **fields: Any
) -> dict[str, Any]:
    """How rotary positions turn queries and keys, and what theta and scaling change."""
    return _show("rope", base, fields, verbose)


def show_attention(base: Speaks, *, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """Which token of a text looks at which, by layer and head."""
    return _show("attention", base, fields, verbose)


def show_merges(*, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """Byte-pair encoding learned on a text, step by step."""
    return _show("merges", None, fields, verbose)


def _show(what: str, base: Any, fields: dict[str, Any], verbose: bool) -> dict[str, Any]:
    given = {} if base is None else {"base": base}
    return look_by_verb(f"show {what}", {**given, **fields}, verbose)
