"""The Hugging Face families that fledge knows. A file of the user's may register more."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from fledge.errors import UserError
from fledge.hub.bart import BART
from fledge.hub.bert import BERT, DISTILBERT, ELECTRA, ROBERTA
from fledge.hub.family import Family
from fledge.hub.gemma import GEMMA, GEMMA2, GEMMA3
from fledge.hub.gpt2 import GPT2
from fledge.hub.llama import LLAMA, MISTRAL, SMOLLM3
from fledge.hub.minimax import MINIMAX_M2
from fledge.hub.mixtral import MIXTRAL
from fledge.hub.modernbert import MODERNBERT
from fledge.hub.neox import GPT_NEOX, STABLELM
from fledge.hub.ngram import NGRAM
from fledge.hub.olmo import OLMO2
from fledge.hub.phi import PHI3
from fledge.hub.qwen import QWEN2, QWEN3, QWEN3_MOE
from fledge.hub.recurrent import RECURRENT
from fledge.hub.t5 import MT5, T5

# Where two families have the same network, it is written as the first.
OF_OTHERS = (
    LLAMA, MISTRAL, QWEN3, QWEN2, SMOLLM3, MIXTRAL, QWEN3_MOE, GEMMA, GEMMA2, GEMMA3, PHI3, OLMO2,
    GPT2, GPT_NEOX, STABLELM, MINIMAX_M2,
)  # fmt: skip
ENCODERS = (BERT, ROBERTA, DISTILBERT, ELECTRA, MODERNBERT)
ENCODER_DECODERS = (T5, MT5, BART)
BUILT_IN = (*OF_OTHERS, *ENCODERS, *ENCODER_DECODERS, RECURRENT, NGRAM)
_known = {family.model_type: family for family in BUILT_IN}


_registered: list[Family] = []


def count_registered() -> int:
    """How often a family was registered."""
    return len(_registered)


def register_family(family: Family) -> None:
    """From now on its folders are read, and its networks written. One of the same model_type is
    replaced.
    """
    # The newest comes first: its network may be derived from that of another.
    _registered.append(family)
    rest = {name: other for name, other in _known.items() if name != family.model_type}
    _known.clear()
    _known.update({family.model_type: family} | rest)


def find_family(model_type: str, place: Path) -> Family:
    """Raises UserError for one that is not known."""
    if model_type not in _known:
        raise UserError(
            f"{place} has model_type={model_type[:40]!r}: fledge reads "
            f"{', '.join(sorted(_known))}. Use another model, or give family=FILE.py "
            "that registers its own (fledge.hub.families)."
        )
    return _known[model_type]


def family_of(network: nn.Module) -> Family:
    """The family that a network was read as, where it has a word for all that the network is; else
    the first that has. Raises UserError for a network of none.
    """
    fitting = [family for family in _known.values() if family.builds(network)]
    if not fitting:
        raise UserError(
            f"a {type(network).__name__} is of no family that fledge knows, and cannot be written: "
            "register its family (fledge.hub.families)."
        )
    read_as = getattr(network.config, "family", "")
    return next((family for family in fitting if family.model_type == read_as), fitting[0])
