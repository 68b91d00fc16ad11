"""What `fledge evaluate` refuses once it knows the task."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from fledge.errors import UserError
from fledge.recipes.look import evaluate as module
from fledge.recipes.look.evaluate import EvaluateConfig, evaluate
from fledge.runs.show import Show
from fledge.tasks.named import load_task


def test_a_search_asks_for_one_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = SimpleNamespace(config=SimpleNamespace(context=1024))
    model = SimpleNamespace(network=network, tokenizer=None)
    monkeypatch.setattr(module, "is_encoder", lambda _: False)
    monkeypatch.setattr(module, "load_sound_model", lambda *_, **__: model)
    monkeypatch.setattr(module, "open_task", lambda *_: load_task("shop:1"))
    fields: dict[str, Any] = {"base": tmp_path, "task": "shop:1", "search": "best_first"}
    with pytest.raises(UserError, match="search=best_first looks for one text, and shop:1 answers"):
        evaluate(EvaluateConfig(**fields), Show(Console(quiet=True)))
