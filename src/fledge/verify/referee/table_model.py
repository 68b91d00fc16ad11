"""The table of a language as a `transformers` model and tokenizer, so that a trainer of the
Hugging Face family trains it as it trains any other. Imported only where such a trainer is asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationMixin,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from fledge.exact.enumerable import Language

# Logits of the tokens that are no symbols: what they are likely is lost in the rounding of float64,
# and their log-probabilities, which label smoothing adds up, stay small.
NEVER = -60.0


class TableConfig(PretrainedConfig):
    """`vocabulary` symbols; the opening token and padding follow them."""

    model_type = "fledge_table"
    auto_map: ClassVar[
        dict[str, str]
    ] = {}  # TRL 1.16 reads it of every architecture that transformers does not have

    def __init__(self, vocabulary: int = 3, length: int = 2, **kwargs: Any) -> None:
        self.vocabulary, self.length = vocabulary, length
        self.hidden_size = self.intermediate_size = count_places(vocabulary, length)
        self.num_hidden_layers = self.num_attention_heads = 1
        kwargs = {"vocab_size": vocabulary + 2, "tie_word_embeddings": False} | kwargs
        super().__init__(**kwargs)


def count_places(vocabulary: int, length: int) -> int:
    """A place for every prefix, those of full length included: what stands there is read only by
    someone who looks past a sequence's end.
    """
    return sum(vocabulary**t for t in range(length + 1))


class TableBackbone(PreTrainedModel):
    """The hidden state is the number of the prefix, one-hot: a heap with V children to a node,
    as the symbols since the opening token lead through it.
    """

    config_class = TableConfig

    def __init__(self, config: TableConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, 1).requires_grad_(False)
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **ignored: Any
    ) -> BaseModelOutput:
        vocabulary, width = self.config.vocabulary, self.config.hidden_size
        seen = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        place = torch.zeros_like(input_ids[:, 0])
        places = []
        for token, visible in zip(input_ids.T, seen.T, strict=True):
            following = place * vocabulary + token + 1
            # Past the longest sequence there is no place left: the last one stands for all.
            following = following.clamp(max=width - 1)
            symbol = (token < vocabulary) & (visible > 0)
            opening = (token == vocabulary) & (visible > 0)
            place = torch.where(opening, 0, torch.where(symbol, following, place))
            places.append(place)
        hidden = nn.functional.one_hot(torch.stack(places, 1), width)
        return BaseModelOutput(last_hidden_state=hidden.to(self.embed_tokens.weight.dtype))


class TableForCausalLM(PreTrainedModel, GenerationMixin):
    """Logits of their own for every prefix; `lm_head.weight` [V + 2, places] is the table."""

    config_class = TableConfig
    base_model_prefix = "model"

    def __init__(self, config: TableConfig) -> None:
        super().__init__(config)
        self.model = TableBackbone(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.embed_tokens

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutput:
        hidden = self.model(input_ids, attention_mask).last_hidden_state
        logits = self.lm_head(hidden[:, -logits_to_keep:] if logits_to_keep else hidden)
        loss = None
        if labels is not None:
            # The library's own: it divides by num_items_in_batch where that is given.
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs
            )
        return CausalLMOutput(loss=loss, logits=logits)


# A trainer that makes its own reference loads it anew from where the model came.
AutoConfig.register(TableConfig.model_type, TableConfig)
AutoModelForCausalLM.register(TableConfig, TableForCausalLM)
# By this list the Trainer knows an architecture of the library's own as a causal one.
MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[TableConfig.model_type] = "TableForCausalLM"


class OutsideTable(TableForCausalLM):
    """The same as an architecture of a user's, which that list does not name."""


def save_alone(model: TableForCausalLM, folder: str) -> None:
    """As `save_pretrained` does, which once processes know of each other writes in the first of
    them alone: here each reads its own folder.
    """
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, Path(folder) / "model.safetensors", metadata={"format": "pt"})


def make_model(
    language: Language, logits: Tensor, kind: type[TableForCausalLM] = TableForCausalLM
) -> TableForCausalLM:
    """logits [P, V]. Float64; garbage stands where no sequence goes on."""
    config = TableConfig(
        language.vocabulary,
        language.length,
        eos_token_id=language.stop,
        pad_token_id=language.vocabulary + 1,
        bos_token_id=language.vocabulary,
    )
    model = kind(config).double()
    return hold(model, language, logits)


@torch.no_grad()
def hold(model: TableForCausalLM, language: Language, logits: Tensor) -> TableForCausalLM:
    """Write a table into a model, wherever that came from.  logits [P, V]"""
    random = torch.Generator().manual_seed(9)
    table = torch.randn(model.lm_head.weight.shape, dtype=torch.float64, generator=random)
    table[language.vocabulary :] = NEVER
    table[: language.vocabulary, list_places(language)] = logits.T
    model.lm_head.weight.copy_(table)
    return model


def list_places(language: Language) -> list[int]:
    """The column of the table that holds each prefix of the language.  [P]"""
    places = []
    for prefix in language.prefixes:
        place = 0
        for symbol in prefix:
            place = place * language.vocabulary + symbol + 1
        places.append(place)
    return places


def read_gradient(model: TableForCausalLM, language: Language) -> tuple[Tensor, float]:
    """−∇loss of the prefixes' logits [P, V], and the size of what is elsewhere."""
    taken = model.lm_head.weight.grad
    if taken is None:
        return torch.zeros(len(language.prefixes), language.vocabulary, dtype=torch.float64), 0.0
    taken = -taken.double()
    places = list_places(language)
    gradient = taken[: language.vocabulary, places].T.clone()
    rest = taken.clone()
    rest[:, places] = 0
    return gradient, float(rest.norm())


def make_tokenizer(language: Language) -> PreTrainedTokenizerFast:
    """One word a symbol: a, b, c …, the stop symbol, an opening token and padding."""
    names = [chr(ord("a") + symbol) for symbol in range(language.vocabulary)]
    if language.stop is not None:
        names[language.stop] = "stop"
    words = {name: number for number, name in enumerate([*names, "open", "pad"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="pad"))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=None if language.stop is None else "stop",
        bos_token="open",
        pad_token="pad",
    )
