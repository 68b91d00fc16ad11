"""Tokenizers as other programs make them, trained small: one of each kind that models come with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

PROSE = [
    "The quick brown fox jumps over the lazy dog, and the dog's 42 friends jump too.\n",
    "def jump(height: int) -> bool:\n    return height > 1024  # high enough\n",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.  Café déjà vu.\n",
    "いろはにほへと ちりぬるを 我思う、故に我あり。\n",
    "Съешь же ещё этих мягких французских булок, да выпей чаю 😀👩‍👩‍👧\r\n\t",
    "user assistant system 3.14159 1,000,000 2024-07-26 im_start end eot_id INST\n",
    "one\n\ntwo\n\n\nthree\n\n\n\n",
] * 20

CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA3 = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
          "<|eot_id|>"]  # fmt: skip
SENTENCEPIECE = ["<unk>", "<s>", "</s>"]
# Words as GPT-4's rule cuts them, which Llama 3 took over: digits by three, line breaks by runs.
BY_THREES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level(special: Sequence[str] = CHATML) -> tokenizers.Tokenizer:
    """GPT-2's."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    return _train(made, trainers.BpeTrainer, special, initial_alphabet=_bytes())


def llama_3() -> tokenizers.Tokenizer:
    """Llama 3's: a word that is a token is never put together from merges, and a beginning."""
    made = tokenizers.Tokenizer(models.BPE(ignore_merges=True))
    made.pre_tokenizer = _split_then_bytes(BY_THREES)
    made.decoder = decoders.ByteLevel()
    _train(made, trainers.BpeTrainer, (), initial_alphabet=_bytes())
    made.add_special_tokens([AddedToken(word, normalized=False, special=True) for word in LLAMA3])
    made.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
            single="<|begin_of_text|> $A",
            special_tokens=[("<|begin_of_text|>", made.token_to_id("<|begin_of_text|>"))],
        ),
    ])  # fmt: skip
    return made


def digits_apart() -> tokenizers.Tokenizer:
    """SmolLM's: each digit a word; with tokens of which some are special and some are not."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])  # fmt: skip
    made.decoder = decoders.ByteLevel()
    _train(made, trainers.BpeTrainer, CHATML, initial_alphabet=_bytes())
    made.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>")])
    return made


def sentencepiece(scheme: str = "prepend") -> tokenizers.Tokenizer:
    """Llama 2's: spaces are signs, one before the text, and what has no token is its bytes."""
    made = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if scheme == "prepend":
        made.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        strip = [decoders.Strip(" ", 1, 0)]
    elif scheme == "first":
        made.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
        strip = [decoders.Strip(" ", 1, 0)]
    else:  # Gemma's, which puts none before the text
        made.normalizer = normalizers.Replace(" ", "▁")
        strip = []
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    words = _train(
        tokenizers.Tokenizer(models.BPE()), trainers.BpeTrainer, SENTENCEPIECE,
        texts=[("▁" + text).replace(" ", "▁") for text in PROSE], by_word=True,
    )  # fmt: skip
    inner = json.loads(words.to_str())["model"]
    listed = [*SENTENCEPIECE, *fallback]
    listed += [word for word in inner["vocab"] if word not in listed]
    file = json.loads(made.to_str())
    file["model"] |= {
        "vocab": {word: number for number, word in enumerate(listed)},
        # A vocabulary turned into merges pairwise has those that spell its own special tokens.
        "merges": [*inner["merges"], ["<", "s"], ["<s", ">"], ["s", ">"], ["<", "s>"]],
    }
    for word in ("<", ">", "<s", "s>"):
        file["model"]["vocab"].setdefault(word, len(file["model"]["vocab"]))
    made = tokenizers.Tokenizer.from_str(json.dumps(file))
    made.add_special_tokens(
        [AddedToken(word, normalized=False, special=True) for word in SENTENCEPIECE]
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    return made


def unigram() -> tokenizers.Tokenizer:
    """T5's and XLM-R's, with bytes for what has no token."""
    made = tokenizers.Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    made.decoder = decoders.Metaspace("▁")
    trainer: Any = trainers.UnigramTrainer
    made.train_from_iterator(
        PROSE,
        trainer(
            vocab_size=400, special_tokens=SENTENCEPIECE, unk_token="<unk>", show_progress=False
        ),
    )
    return made


def wordpiece() -> tokenizers.Tokenizer:
    """BERT's: lower case, without accents."""
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix="##")
    _train(made, trainers.WordPieceTrainer, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


KINDS: dict[str, Callable[[], tokenizers.Tokenizer]] = {
    "byte-level": byte_level,
    "llama 3": llama_3,
    "digits apart": digits_apart,
    "sentencepiece": sentencepiece,
    "sentencepiece, first": lambda: sentencepiece("first"),
    "sentencepiece, no space": lambda: sentencepiece("none"),
    "unigram": unigram,
    "wordpiece": wordpiece,
}
LOSSLESS = (
    "byte-level", "llama 3", "digits apart",
    "sentencepiece", "sentencepiece, first", "sentencepiece, no space",
)  # fmt: skip


def write(
    folder: Path, made: tokenizers.Tokenizer, template: str | None = None, **config: Any
) -> Path:
    """The files of a model's tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    entries = {"tokenizer_class": "PreTrainedTokenizerFast", **config}
    if template is not None:
        entries["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(entries, ensure_ascii=False))
    return folder


def _train(
    made: tokenizers.Tokenizer,
    trainer: Any,
    special: Sequence[str],
    *,
    texts: Sequence[str] = PROSE,
    by_word: bool = False,
    **more: Any,
) -> tokenizers.Tokenizer:
    if by_word:
        made.pre_tokenizer = pre_tokenizers.Split(Regex("▁"), "merged_with_next")
    made.train_from_iterator(
        texts, trainer(vocab_size=600, special_tokens=list(special), show_progress=False, **more)
    )
    return made


def _split_then_bytes(rule: str) -> Any:
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(rule), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip


def _bytes() -> list[str]:
    return pre_tokenizers.ByteLevel.alphabet()
