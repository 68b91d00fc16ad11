"""The fields of `fledge vectors`: of a training, and of questions to vectors that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fledge.algorithms.likelihood.context_prediction import ContextSettings
from fledge.algorithms.likelihood.glove import GloveSettings
from fledge.data_names import split_sources
from fledge.errors import UserError
from fledge.models.language.subwords import Subwords
from fledge.recipes.language.text_data import TextFields

# A default that depends on the model; by the field's name.
_USUAL: dict[str, dict[str, Any]] = {
    "skipgram": {"window": 5, "epochs": 5, "learning_rate": 0.025},
    "cbow": {"window": 5, "epochs": 5, "learning_rate": 0.1},
    "glove": {"window": 10, "epochs": 25, "learning_rate": 0.05},
}
_OF_GLOVE = {"x_max"}
_OF_CONTEXTS = {
    "objective", "negatives", "sample", "subwords", "shortest_ngram", "longest_ngram", "buckets",
}  # fmt: skip
_OF_SUBWORDS = {"shortest_ngram", "longest_ngram", "buckets"}


class QuestionsOfVectors(BaseModel):
    """To vectors that are there."""

    run: Path | None = Field(
        default=None,
        description="vectors to ask: a run of this verb, a .bin of word2vec's, or a text .vec or "
        ".txt; by default the newest run in runs/",
    )
    near: str | None = Field(default=None, description="a word: its nearest neighbours")
    analogy: str | None = Field(default=None, description="man:king::woman:? — what stands for ?")
    similarity: Path | None = Field(
        default=None,
        description="a .csv or .tsv of two words and a score a line: Spearman's correlation",
    )
    classify: Path | None = Field(
        default=None,
        description="a .jsonl with text and label: logistic regression on the vectors of its words",
    )
    contextual: str = Field(
        default="",
        description="with classify: a language model, whose layers are features beside the "
        "vectors; two as runs/lstm,runs/back, one of which reads backward, as ELMo",
    )
    count: int = Field(default=10, ge=1, le=1000, description="neighbours that are shown")

    @property
    def asked(self) -> list[str]:
        """Which questions are asked."""
        names = ("near", "analogy", "similarity", "classify")
        return [name for name in names if getattr(self, name) is not None]


class VectorsConfig(QuestionsOfVectors, TextFields):
    """Learn a vector for each word of a text, or ask vectors that are there: neighbours, analogies,
    similarity.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    data: str | None = Field(
        default=None,
        description="text to learn from: a .txt, .md, .jsonl (each also .gz) or a folder of them; "
        "python: the prose of this Python installation",
    )
    model: Literal["skipgram", "cbow", "glove"] = Field(
        default="skipgram",
        description="skipgram: each neighbour tells the word; cbow: their mean does; glove: least "
        "squares on how often words stand near each other",
    )
    dims: int = Field(default=100, ge=1, le=4096, description="numbers of a vector")
    window: int | None = Field(
        default=None, ge=1, le=50,
        description="words to either side at the most; 5 by default, of glove 10",
    )  # fmt: skip
    min_count: int = Field(
        default=5, ge=1, description="words that stand more rarely in the text are left out"
    )
    epochs: int | None = Field(
        default=None, ge=1, description="passes over the text; 5 by default, of glove 25"
    )
    learning_rate: float | None = Field(
        default=None, gt=0,
        description="at the beginning, from where it falls in a line: 0.025 by default, of cbow "
        "0.1; of glove, by AdaGrad, 0.05",
    )  # fmt: skip
    objective: Literal["negative", "hierarchical"] | None = Field(
        default=None,
        description="skipgram, cbow: tell the word from noise (by default), or find it in a "
        "Huffman tree",
    )
    negatives: int | None = Field(
        default=None, ge=1, le=60, description="objective=negative: noise words a word (5)"
    )
    sample: float | None = Field(
        default=None, ge=0, le=1,
        description="skipgram, cbow: share of the text from which a word is left out now and then "
        "(0.001); 0: never",
    )  # fmt: skip
    subwords: bool = Field(
        default=False,
        description="skipgram, cbow: a word is the sum of its character n-grams too, so that words "
        "never seen have a vector",
    )
    shortest_ngram: int | None = Field(
        default=None, ge=1, le=20, description="subwords: characters of an n-gram (3)"
    )
    longest_ngram: int | None = Field(
        default=None, ge=1, le=20, description="subwords: characters of an n-gram (6)"
    )
    buckets: int | None = Field(
        default=None, ge=1, le=10_000_000,
        description="subwords: vectors that all n-grams share, by a hash (200,000)",
    )  # fmt: skip
    x_max: float | None = Field(
        default=None, gt=0, description="glove: from how many on a pair counts fully (100)"
    )
    threads: int = Field(
        default=1, ge=1, le=256,
        description="that write the same vectors at once: two runs then differ in their last bits",
    )  # fmt: skip
    map: Literal["pca", "tsne", "none"] = Field(
        default="pca", description="picture of frequent words in the report; tsne: scikit-learn's"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of every random number in the run")
    out: Path | None = Field(
        default=None,
        description="run folder; by default the first free of runs/vectors, runs/vectors-2, …",
    )
    evaluate_every: int = Field(
        default=0, ge=0,
        description="words (of glove pairs of words) between evaluations; 0: only before and after",
    )  # fmt: skip
    save_every_s: float = Field(default=30.0, ge=0, description="seconds between checkpoints")

    @property
    def steps(self) -> int:
        """Passes; `Course.fit` is told of the words in them."""
        return self.usual("epochs")

    def usual(self, name: str) -> Any:
        """What was given, else the model's default."""
        given = getattr(self, name)
        return _USUAL[self.model][name] if given is None else given

    @property
    def context_settings(self) -> ContextSettings:
        given = {
            name: getattr(self, name) for name in ("objective", "negatives", "sample")
            if getattr(self, name) is not None
        }  # fmt: skip
        return ContextSettings(
            cbow=self.model == "cbow", dims=self.dims, window=self.usual("window"),
            learning_rate=self.usual("learning_rate"), threads=self.threads,
            subwords=self.read_subwords(), **given,
        )  # fmt: skip

    @property
    def glove_settings(self) -> GloveSettings:
        more = {} if self.x_max is None else {"x_max": self.x_max}
        rate = self.usual("learning_rate")
        return GloveSettings(self.dims, learning_rate=rate, threads=self.threads, **more)

    def read_subwords(self) -> Subwords | None:
        """Raises UserError for n-grams that cannot be."""
        if not self.subwords:
            return None
        shortest = self.shortest_ngram or 3
        longest = self.longest_ngram or max(6, shortest)
        if shortest > longest:
            raise UserError(
                f"shortest_ngram={shortest} is more than longest_ngram={longest}: give a smaller "
                "one."
            )
        return Subwords(shortest, longest, self.buckets or 200_000)

    def check(self) -> None:
        """Raises UserError for fields that would do nothing, or do not go together."""
        given = self.model_fields_set
        if self.data is None:
            raise UserError(
                "no text was given and nothing was asked: give data=FILE to learn vectors, or "
                "near=WORD, analogy=, similarity= or classify= to ask some."
            )
        if idle := sorted(given & (set(QuestionsOfVectors.model_fields))):
            raise UserError(
                f"{', '.join(idle)}: of vectors that are there, and data={self.data} learns new "
                "ones: ask when they are learned, by run=."
            )
        foreign = _OF_CONTEXTS if self.model == "glove" else _OF_GLOVE
        if idle := sorted(foreign & given):
            whose = "skipgram and cbow" if self.model == "glove" else "glove"
            raise UserError(f"{', '.join(idle)}: of {whose}, and model={self.model}: leave it out.")
        if idle := sorted(_OF_SUBWORDS & given) if not self.subwords else []:
            raise UserError(f"{', '.join(idle)}: of subwords=true, which was not given.")
        if self.objective == "hierarchical" and "negatives" in given:
            raise UserError("negatives= is of objective=negative: leave one of the two out.")
        if len(split_sources(self.data)) > 1:
            raise UserError(
                f"data={self.data} has weights, and vectors read all text alike: leave them out."
            )
        self.read_subwords()

    def check_question(self) -> None:
        """Raises UserError for fields of a training beside a question."""
        own = {*QuestionsOfVectors.model_fields}
        if idle := sorted(self.model_fields_set - own):
            raise UserError(
                f"{', '.join(idle)}: of a training, and vectors that are there were asked: leave "
                "it out."
            )
        if self.contextual and self.classify is None:
            raise UserError("contextual= is of classify=FILE: give rows to classify, too.")
