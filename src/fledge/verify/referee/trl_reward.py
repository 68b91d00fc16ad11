"""TRL's reward model as a peer: a table of one score a sequence, in the shape of a sequence
classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import trl  # pyright: ignore[reportMissingImports]
from datasets import Dataset  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput
from trl import RewardConfig, RewardTrainer  # pyright: ignore[reportMissingImports]

from fledge.exact.enumerable import Language
from fledge.exact.problem import Problem
from fledge.verify.referee.hugging_face import BatchTrainer
from fledge.verify.referee.question import Answer, Step
from fledge.verify.referee.table_model import TableBackbone, TableConfig, make_tokenizer


class TableForScores(PreTrainedModel):
    """A score of its own for every prefix, read at the last token that is not padding: the shape
    of `transformers`' sequence classifiers.
    """

    config_class = TableConfig
    base_model_prefix = "model"

    def __init__(self, config: TableConfig) -> None:
        super().__init__(config)
        self.model = TableBackbone(config)
        self.score = nn.Linear(config.hidden_size, 1, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.embed_tokens

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, **ignored: Any
    ) -> SequenceClassifierOutput:
        hidden = self.model(input_ids, attention_mask).last_hidden_state
        scores = self.score(hidden).squeeze(-1)  # [B, T]
        last = attention_mask.cumsum(1).argmax(1)
        return SequenceClassifierOutput(logits=scores.gather(1, last[:, None]))


class TrlReward(BatchTrainer):
    """A score a sequence, held where its last token stands."""

    name, version = "trl:reward", trl.__version__

    def _build(self, folder: str, **more: Any) -> Any:
        language = self.problem.language
        config = TableConfig(
            language.vocabulary, language.length, pad_token_id=language.vocabulary + 1
        )
        config.num_labels = 1
        model = TableForScores(config).double()
        return RewardTrainer(
            model=hold_scores(model, language, self.problem.reward),
            args=self._arguments(RewardConfig, folder, **more, max_length=None),
            train_dataset=Dataset.from_list([{"chosen": "a", "rejected": "b"}] * 2),
            processing_class=make_tokenizer(language),
        )

    def _rows(self, words: tuple[int, ...]) -> list[dict[str, Any]]:
        half = len(words) // 2
        return [
            {
                "chosen_ids": [self.opening, *self._word(chosen)],
                "rejected_ids": [self.opening, *self._word(rejected)],
            }
            for chosen, rejected in zip(words[:half], words[half:], strict=True)
        ]

    def answer(self, step: Step) -> Answer:
        self._train(step)
        taken = -self.trainer.model.score.weight.grad[0].double()
        places = list_ends(self.problem.language)
        rest = taken.clone()
        rest[places] = 0
        return Answer(taken[places], float(rest.norm()))

    def losses(self, step: Step, tables: Sequence[Tensor]) -> list[float]:
        values = []
        for table in tables:
            hold_scores(self.trainer.model, self.problem.language, table)
            values.append(self._train(step))
        hold_scores(self.trainer.model, self.problem.language, self.problem.reward)
        return values


def list_ends(language: Language) -> list[int]:
    """The column of a table that stands for each whole sequence.  [S]"""
    places = []
    for word in language.sequences:
        place = 0
        for symbol in word:
            place = place * language.vocabulary + symbol + 1
        places.append(place)
    return places


@torch.no_grad()
def hold_scores(model: TableForScores, language: Language, table: Tensor) -> TableForScores:
    """table [S]; at prefixes that end nothing there is garbage."""
    random = torch.Generator().manual_seed(9)
    scores = torch.randn(model.score.weight.shape[1], dtype=torch.float64, generator=random)
    scores[list_ends(language)] = table
    model.score.weight.copy_(scores[None])
    return model


def build_peer(peer: str, setting: dict[str, Any], problem: Problem) -> TrlReward:
    return TrlReward(setting, problem)


version = trl.__version__
