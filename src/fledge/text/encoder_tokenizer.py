"""A tokenizer for an encoder out of one that fledge trained: the same tokens, and a mask; what
stands around one text and two is said in its file, as other programs read it.
"""

from __future__ import annotations

import json
from pathlib import Path

from fledge.text.foreign import ForeignTokenizer
from fledge.text.foreign_files import ForeignFiles
from fledge.text.own_tokenizers import OwnTokenizer
from fledge.text.tokenizer_file import SPECIAL

MASK = "<|mask|>"


def make_encoder_tokenizer(own: OwnTokenizer) -> ForeignTokenizer:
    """[CLS] is its begin, [SEP] its end."""
    file = json.loads(own.file)
    open_, close = SPECIAL[own.begin], SPECIAL[own.end]
    file["added_tokens"].append({
        "id": own.vocab_size, "content": MASK, "single_word": False, "lstrip": False,
        "rstrip": False, "normalized": False, "special": True,
    })  # fmt: skip

    def special(word: str, kind: int = 0) -> dict[str, object]:
        return {"SpecialToken": {"id": word, "type_id": kind}}

    def text(name: str, kind: int = 0) -> dict[str, object]:
        return {"Sequence": {"id": name, "type_id": kind}}

    single = [special(open_), text("A"), special(close)]
    file["post_processor"] = {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, text("B", 1), special(close, 1)],
        "special_tokens": {
            word: {"id": word, "ids": [number], "tokens": [word]}
            for word, number in ((open_, own.begin), (close, own.end))
        },
    }
    named = {
        "cls_token": open_, "sep_token": close, "pad_token": SPECIAL[own.pad], "mask_token": MASK,
    }  # fmt: skip
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **named,
        "clean_up_tokenization_spaces": False,
    }
    content = {"tokenizer.json": file, "tokenizer_config.json": config}
    kept = {
        name: (json.dumps(each, ensure_ascii=False, indent=2) + "\n").encode()
        for name, each in content.items()
    }
    files = ForeignFiles(
        folder=Path("the encoder"), kept=kept, tokenizer=file, named=named, additional=(), ends=(),
        pad=own.pad, templates={},
    )  # fmt: skip
    return ForeignTokenizer(files)
