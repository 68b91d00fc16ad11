"""The fields of `fledge data clean`, and the filters that they choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from fledge.curate.filtering import Filters
from fledge.curate.rules import RULES
from fledge.errors import UserError
from fledge.evaluate.by_document import measure_documents
from fledge.evaluate.contamination import collect_runs
from fledge.hub.folder import load_model
from fledge.recipes.language.text_data import TextFields
from fledge.text.documents import Document, data_files
from fledge.text.files import is_suffixed, json_rows, read_chunks


class DataCleanConfig(TextFields):
    """Decide about every document of a corpus whether a model should learn from it, and say why:
    published rules, copies, passages that stand elsewhere, personal data, evaluation questions.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    data: str = Field(description="text, as `pretrain` takes it: files, folders, patterns")
    rules: str = Field(
        default="gopher,fineweb", description="gopher, c4, fineweb, with commas between, or none"
    )
    copies: Literal["none", "exact", "near"] = Field(
        default="near",
        description="documents that stood before: exact ones (whatever their white space), or near "
        "ones too, of which 3 in 4 runs of five words or more are the same",
    )
    spans: int = Field(
        default=50, ge=0,
        description="words in a row that stood before, in any document, are cut out; 0 leaves them",
    )  # fmt: skip
    private: bool = Field(
        default=True,
        description="replace email and network addresses, phone, card and bank numbers, keys",
    )
    against: str | None = Field(
        default=None,
        description="evaluation files (.jsonl, .txt): documents with 13 words in a row of one of "
        "their texts are dropped",
    )
    model: Path | None = Field(
        default=None, description="a language model, such as an n-gram's run, for most_bits"
    )
    most_bits: float | None = Field(
        default=None, gt=0, description="bits per byte by `model` that a document may have"
    )
    out: Path | None = Field(
        default=None, description="run folder; by default the first free of runs/data-clean, …"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of the examples on the page")

    def check(self) -> None:
        """Raises UserError."""
        self.list_rules()
        if (self.model is None) != (self.most_bits is None):
            raise UserError("model= and most_bits= go together: give both, or neither.")

    def list_rules(self) -> list[str]:
        names = [name.strip() for name in self.rules.split(",") if name.strip()]
        if names == ["none"]:
            return []
        for name in names:
            if name not in RULES:
                raise UserError(
                    f"rules={self.rules} names {name!r}: give some of {', '.join(RULES)}, with "
                    "commas between, or none."
                )
        return list(dict.fromkeys(names))

    def choose_filters(self) -> Filters:
        """Raises UserError for evaluation files and a model that cannot be read."""
        return Filters(
            rules=self.list_rules(),
            private=self.private,
            wanted=collect_runs(read_questions(self.against)) if self.against else {},
            foretell=None if self.model is None else make_foreteller(self.model),
            most_bits=self.most_bits or float("inf"),
        )


def read_questions(data: str) -> Iterator[str]:
    """Every text in the rows of .jsonl files, and every line of .txt files."""
    for path in data_files(data):
        if is_suffixed(path, (".jsonl",)):
            for _, row in json_rows(path):
                yield from _list_texts(row)
        else:
            yield from "".join(read_chunks(path)).splitlines()


def _list_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _list_texts(each)


def make_foreteller(path: Path) -> Callable[[str], float]:
    """Bits per byte of a text by this model."""
    loaded = load_model(path).merged()
    policy = loaded.policy()
    context = loaded.network.config.context

    def foretell(text: str) -> float:
        document = Document(text, "")
        [measured] = measure_documents(policy, [document], loaded.tokenizer, context)
        return measured.bits_per_byte

    return foretell
