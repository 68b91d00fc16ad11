"""The fields of `fledge data clean`, and the filters that they choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from fledge.curate.filtering import Filters
from fledge.curate.languages import BUILT_IN, Languages
from fledge.curate.quality import QualityModel
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
    language: str | None = Field(
        default=None,
        description="keep documents in this language, or in one of several with commas between: "
        "en, de, … (an unknown one names those that there are)",
    )
    profiles: Path | None = Field(
        default=None,
        description="languages of your own, by `fledge data languages`; by default 28 built in",
    )
    quality: Path | None = Field(
        default=None, description="a run of `fledge data quality`, for the two fields below"
    )
    least_quality: float | None = Field(
        default=None, gt=0, lt=1, description="the probability of good text that is wanted"
    )
    quality_share: float | None = Field(
        default=None, gt=0, le=1,
        description="the share of the documents to keep that nothing else drops, the best ones",
    )  # fmt: skip
    out: Path | None = Field(
        default=None, description="run folder; by default the first free of runs/data-clean, …"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of the examples on the page")

    def check(self) -> None:
        """Raises UserError."""
        self.list_rules()
        if (self.model is None) != (self.most_bits is None):
            raise UserError("model= and most_bits= go together: give both, or neither.")
        asked = (self.least_quality is not None) + (self.quality_share is not None)
        if asked != (self.quality is not None):
            raise UserError(
                "quality=RUN wants least_quality= or quality_share=, one of them, and they want it."
            )
        if self.profiles is not None and self.language is None:
            raise UserError("profiles= tells languages apart: say by language= which you want.")

    def list_languages(self, known: Sequence[str]) -> list[str]:
        """Raises UserError for one that has no profile."""
        wanted = [name.strip() for name in (self.language or "").split(",") if name.strip()]
        for name in wanted:
            if name not in known:
                raise UserError(
                    f"language={self.language} names {name!r}, and there are profiles of "
                    f"{', '.join(known)}; `fledge data languages` makes others."
                )
        return wanted

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
        languages = None
        if self.language is not None:
            languages = Languages.load(self.profiles or BUILT_IN)
        return Filters(
            rules=self.list_rules(),
            private=self.private,
            wanted=collect_runs(read_questions(self.against)) if self.against else {},
            foretell=None if self.model is None else make_foreteller(self.model),
            most_bits=self.most_bits or float("inf"),
            languages=languages,
            wanted_languages=self.list_languages(languages.names) if languages else (),
            quality=None if self.quality is None else QualityModel.load(self.quality),
            least_quality=self.least_quality or 0.0,
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
