"""How documents lie in the rows of pre-training: end to end, or whole; and which of them come
first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from fledge.errors import UserError

PackingWay = Literal["stream", "best_fit"]
Curriculum = Literal["none", "length", "perplexity", "quality"]


class PackingFields(BaseModel):
    """Of running text."""

    packing: PackingWay = Field(
        default="stream",
        description="stream: documents end to end, cut where a row ends; best_fit: each in the row "
        "that it fills best, so that none is cut that fits into a row",
    )
    curriculum: Curriculum = Field(
        default="none",
        description="documents first, under packing=best_fit, that are short (length), that "
        "curriculum_model foretells best (perplexity), or that it calls good (quality)",
    )
    curriculum_model: Path | None = Field(
        default=None,
        description="a language model, such as an n-gram's run, for curriculum=perplexity; of "
        "`fledge data quality` for quality",
    )

    def check_packing(self, order: str, objective: str, begin: int | None) -> None:
        """order: in which a recurrent model reads, "" for the usual. begin: the token
        that opens documents. Raises UserError for what does not go together.
        """
        other = "" if objective == "next_token" else f"objective={objective}"
        whole = f"{order}=true" if order else other
        models = ("perplexity", "quality")
        if (self.curriculum_model is not None) != (self.curriculum in models):
            raise UserError(
                "curriculum=perplexity and curriculum=quality are by a model: give "
                "curriculum_model= with them, and only with them."
            )
        if self.curriculum != "none" and self.packing == "stream":
            raise UserError(
                f"curriculum={self.curriculum} is an order of documents, and packing=stream cuts "
                "them anywhere: add packing=best_fit."
            )
        if self.packing == "stream":
            return
        if whole:
            raise UserError(
                f"packing=best_fit lays whole documents into rows, and {whole} makes its rows "
                "another way: leave one of them out."
            )
        if begin is None:
            raise UserError(
                "packing=best_fit wants a token that opens documents, and this tokenizer has none: "
                "leave it out."
            )
