"""`fledge evaluate` of an encoder that labels, or gives vectors: how often it is right on a file of
rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from fledge.data_names import list_named
from fledge.evaluate.labelling import answer_rows
from fledge.hub.adapter_folder import holds_adapter, read_notes
from fledge.hub.config_file import read_config
from fledge.hub.encoder_adapter import labels_by_adapter
from fledge.hub.encoder_family import SavedEncoder
from fledge.hub.folder import find_model, is_encoder, load_labeller, tells_labels
from fledge.hub.gguf_model import is_gguf
from fledge.recipes.language.label_task import NOTE, UNIT, find_frame, find_task
from fledge.recipes.language.rows import tell
from fledge.report.figures import format_value, spell_name
from fledge.rows.census import Reading
from fledge.rows.labels import LabelRow, content_of
from fledge.runs.folder import Run, is_run
from fledge.runs.show import Show
from fledge.sample.label_examples import ExampleMaker, make_examples
from fledge.splits import divide, prompt_key
from fledge.text.labelled_files import read_labelled


class Evaluating(Protocol):
    """The fields by which rows are read."""

    @property
    def base(self) -> Path: ...
    @property
    def data(self) -> str | None: ...
    @property
    def whole(self) -> bool: ...
    @property
    def reading(self) -> Reading: ...


def labels_rows(base: Path) -> bool:
    """Whether a model is measured on rows with labels, and not on text. Raises UserError for what
    is no model.
    """
    folder = find_model(base)
    if tells_labels(base):
        return True
    if folder.is_dir() and holds_adapter(folder):
        return is_encoder(folder) and (NOTE in read_notes(folder) or labels_by_adapter(folder))
    if is_gguf(folder) or not (folder / "config.json").is_file():
        return False
    _, config, raw = read_config(folder)
    return isinstance(config, SavedEncoder) and (bool(config.classifier) or NOTE in raw)


def evaluate_labels(config: Evaluating, show: Show) -> dict[str, Any]:
    """Of the whole file; of one that the run was tuned on the part that it held out for its test,
    unless `whole`. What goes beyond the context is cut on the right.
    """
    model = load_labeller(config.base)
    task = find_task(model, config.base, vectors=True)
    path = Path(str(config.data))
    rows, censuses = read_labelled(path, task, replace(config.reading, truncate="right"))
    divided = not config.whole and holds_test_of(config.base, path)
    rows = keep_test(rows) if divided else rows
    labels = model.network.config.labels
    maker = ExampleMaker(
        model.tokenizer, labels, model.network.config.context, censuses[0], find_frame(model)
    )
    examples = make_examples(rows, maker)
    tell(censuses, show)
    answers = answer_rows(model.network, examples, task, labels, model.pooling or UNIT)
    said = ", ".join(f"{spell_name(k)} {format_value(k, v)}" for k, v in answers.figures.items())
    part = f"the test part of {path}" if divided else str(path)
    show.line(f"{said}, on {len(examples):,} rows of {part}")
    table: dict[str, dict[str, float]] = {}
    for name, each in answers.by_label.items():
        table[name] = {
            "precision": each.precision, "recall": each.recall, "f1": each.f1, "true": each.true,
        }  # fmt: skip
        show.line(
            f"  {name}: precision {each.precision:.1%}, recall {each.recall:.1%}, F1 {each.f1:.1%} "
            f"of {each.true:,}"
        )
    return {
        "base": str(config.base), "task": task, "rows": len(examples), **answers.figures,
        "by_label": table,
    }  # fmt: skip


def holds_test_of(base: Path, data: Path) -> bool:
    """Whether a run was tuned on these very files, and held a part of them out for a test."""
    if not is_run(base):
        return False
    config = Run.open(base).config
    own = config.get("data")
    if not isinstance(own, str) or config.get("test") is not None:
        return False
    learned, asked = list_named(own), list_named(data)
    if len(learned) != len(asked) or not all(file.exists() for file in (*learned, *asked)):
        return False
    return all(one.samefile(other) for one, other in zip(learned, asked, strict=True))


def keep_test(rows: Sequence[LabelRow]) -> list[LabelRow]:
    """Of a file that was divided, what was read once; all of one that was too small for that."""
    keys = [prompt_key(content_of(row)) for row in rows]
    sides = divide(keys)
    if sides is None:
        return list(rows)
    return [row for row, key in zip(rows, keys, strict=True) if sides[key] == "test"]
