"""The judge of a run that teaches an encoder to label: what it answers to each held-out part, some
of it kept as samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fledge.evaluate.judge import Figures, Judge
from fledge.evaluate.labelling import Answers, answer_rows
from fledge.models.language.encoder import Encoder
from fledge.models.language.sentence_vectors import PLAIN_MEAN, Pooling
from fledge.rows.entities import name_entities
from fledge.rows.labels import LabelTask, spell_row
from fledge.runs.folder import Run
from fledge.sample.label_examples import Example
from fledge.splits import HeldOut

MOST_LABELS = 50  # of a confusion table
KEPT = 12  # answers an evaluation writes to samples.jsonl


def choose_headline(
    task: LabelTask, labels: Sequence[str], held_out: Mapping[HeldOut, Sequence[Example[Any]]]
) -> str:
    """The figure that a run is judged by."""
    if task == "tag" and name_entities(labels):
        return "entity_f1"
    if task != "embed":
        return "accuracy"
    rows = [example.row for part in held_out.values() for example in part]
    return "spearman" if rows and all(row.score is not None for row in rows) else "retrieval"


class LabelJudge:
    """Answers to each held-out part, the newest of which it keeps."""

    def __init__(
        self,
        encoder: Encoder,
        task: LabelTask,
        labels: Sequence[str],
        held_out: Mapping[HeldOut, Sequence[Example[Any]]],
        run: Run,
        pooling: Pooling = PLAIN_MEAN,
    ) -> None:
        self.task: LabelTask = task
        self.encoder, self.labels, self.held_out = encoder, labels, held_out
        self.run, self.pooling, self.answers = run, pooling, dict[HeldOut, Answers]()

    def read(self, part: HeldOut, step: int) -> Figures:
        examples = self.held_out[part]
        answers = answer_rows(self.encoder, examples, self.task, self.labels, self.pooling)
        self.answers[part] = answers
        if part == "validation":
            shown = zip(examples, answers.said, answers.true, strict=False)
            for example, said, true in list(shown)[:KEPT]:
                self.run.samples.write(
                    {
                        "step": step, "prompt": spell_row(example.row), "completion": said,
                        "answer": true, "exact": said == true,
                    }
                )  # fmt: skip
        return answers.figures

    def judge(self, headline: str) -> Judge:
        items: dict[HeldOut, int] = {part: len(rows) for part, rows in self.held_out.items()}
        return Judge(self.read, headline, items=items, what="row", prefix="validation_")

    def tabulate(self, part: HeldOut) -> dict[str, Any]:
        """The confusion table of the newest answers to a part, a row a true label, for a run's
        summary; nothing where there is none, or it is too large to look at.
        """
        answers = self.answers.get(part)
        if answers is None or answers.confusions is None or len(self.labels) > MOST_LABELS:
            return {}
        return {"labels": list(self.labels), "confusions": answers.confusions.tolist()}
