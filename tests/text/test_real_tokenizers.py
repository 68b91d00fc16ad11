"""SmolLM2's own vocabulary and chat template, as an installed package ships them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from fledge.text.tokenizer import ForeignTokenizer, load_tokenizer
from tests.real.smollm2 import SMOLLM2
from tests.text.foreign_kinds import write
from tests.text.test_foreign_chat import TALKS, list_trained
from tests.text.test_foreign_tokenizers import fuzz

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> ForeignTokenizer:
    gguf: Any = pytest.importorskip("gguf")
    file = SMOLLM2.find()
    if file is None:
        pytest.skip("SmolLM2 is not here: `make real` fetches it")
    fields = gguf.GGUFReader(file).fields

    def strings(name: str) -> list[str]:
        field = fields[f"tokenizer.{name}"]
        return [bytes(field.parts[i]).decode() for i in field.data]

    words, kinds = strings("ggml.tokens"), fields["tokenizer.ggml.token_type"]
    control = [words[i] for i, place in enumerate(kinds.data) if int(kinds.parts[place][0]) == 3]
    merges = [tuple(merge.split(" ")) for merge in strings("ggml.merges")]
    vocabulary = {word: number for number, word in enumerate(words)}
    made = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))  # pyright: ignore[reportArgumentType]
    made.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    made.add_special_tokens([AddedToken(word, normalized=False, special=True) for word in control])
    [template] = strings("chat_template")
    folder = write(
        tmp_path_factory.mktemp("smollm2"), made, template,
        bos_token="<|im_start|>", eos_token="<|im_end|>",
    )  # fmt: skip
    loaded = load_tokenizer(folder)
    assert isinstance(loaded, ForeignTokenizer)
    return loaded


def test_its_ids_are_the_library_s(smollm2: ForeignTokenizer) -> None:
    library = tokenizers.Tokenizer.from_file(str(smollm2.files.folder / "tokenizer.json"))
    texts = fuzz(2000, 9)
    known = {word[0] for word in smollm2.vocabulary if len(word) == 1}
    for text, ids, theirs in zip(
        texts, smollm2.encode_many(texts), library.encode_batch(texts), strict=True
    ):
        assert ids.tolist() == theirs.ids
        if set(text.encode()) <= known:  # it has no token for the rarest bytes, and drops them
            assert smollm2.decode(ids) == text
            assert smollm2.bytes_per_token(ids).sum() == len(text.encode())
    assert smollm2.vocab_size == 49_152


def test_its_conversations_are_those_of_transformers(smollm2: ForeignTokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(smollm2.files.folder)
    for name in ("one", "two", "system"):
        ids, chosen = smollm2.render(TALKS[name])
        assert ids == theirs.apply_chat_template(TALKS[name], return_dict=False)
        answers = [m["content"] for m in TALKS[name] if m["role"] == "assistant"]
        assert list_trained(smollm2, ids, chosen) == [f"{said}<|im_end|>" for said in answers]
    assert smollm2.ends == {2}
    assert json.loads(smollm2.files.kept["tokenizer_config.json"])["eos_token"] == "<|im_end|>"
