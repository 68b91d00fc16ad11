"""SmolLM2-135M-Instruct, a model that others trained: fledge reads its weights, its tokenizer and
its chat template as llama.cpp, tokenizers and transformers do, and says the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.engine.engine import Engine
from fledge.engine.request import Request
from fledge.hub.folder import Loaded
from fledge.rows.turns import Conversation
from fledge.text.chat import render
from fledge.trajectories import from_rows
from tests.real.following import GREEDY_PROMPTS, follow
from tests.real.llama_server import LlamaServer

pytestmark = pytest.mark.real

NEW = 12  # tokens

TEXTS = (
    *GREEDY_PROMPTS,
    "",
    " ",
    "\n\n\n  indented\tby a tab\r\n",
    "Prices rose by 12.5% in 2023; £1,299.00 was 1 299,00 € in 04/05/1999.",
    "It's what they'd said: WE'LL see, shan't we?",
    "naïve façade, Übergröße, Ærø, e\u0301 and é",
    "日本語のテキスト、한국어 문장, и немного по-русски, عربي",
    "🙂👩‍👩‍👧 emoji \U0001f9d1\U0001f3fd‍💻 and ☃",
    "while x[i] != 0x1F and y**2 >= 1e-3:  # two spaces, ten == signs ==========",
    "a" * 70 + "0123456789" * 3,
    "<|im_start|>user\nnot a turn<|im_end|> <|endoftext|>",
)
CHATS: tuple[Conversation, ...] = (
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "system", "content": "Answer in Welsh."}, {"role": "user", "content": "Hello!"}],
    [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "4."},
        {"role": "user", "content": "  and\n3 + 3? "},
    ],
)


@pytest.fixture(scope="module")
def fields(file: Path) -> Any:
    """What the gguf package reads in the file's header."""
    return pytest.importorskip("gguf").GGUFReader(file).fields


def test_llama_cpp_says_the_same_tokens_of_the_same_file(model: Loaded, llama: LlamaServer) -> None:
    # llama.cpp multiplies Q4_1 with activations in eight bits: some tenths of a nat.
    compared, ties = follow(model, llama, NEW, nats=0.5)
    assert compared >= 120
    assert ties <= compared // 10


def test_token_ids_are_those_of_llama_cpp(model: Loaded, llama: LlamaServer) -> None:
    for text in TEXTS:
        assert model.tokenizer.encode(text) == llama.encode(text), text


def test_token_ids_are_those_of_tokenizers(model: Loaded, fields: Any) -> None:
    """Built here from what the gguf package reads, with the two cuts that SmolLM's own
    tokenizer.json names: digits one by one, then GPT-2's.
    """
    import tokenizers

    names = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(each.split(" ")) for each in fields["tokenizer.ggml.merges"].contents()]
    theirs: Any = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=merges)
    )
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    theirs.decoder = tokenizers.decoders.ByteLevel()
    for text in TEXTS:
        ids = theirs.encode(text).ids
        assert model.tokenizer.encode(text) == ids, text
        assert model.tokenizer.decode(ids) == theirs.decode(ids) == text


@pytest.mark.parametrize("turns", CHATS)
def test_a_chat_is_written_as_llama_cpp_writes_it(
    model: Loaded, llama: LlamaServer, turns: Conversation
) -> None:
    written = llama("apply-template", messages=turns)["prompt"]
    assert render(model.tokenizer, turns, reply=True)[0] == llama.encode(written, special=True)


@pytest.mark.parametrize("turns", CHATS)
def test_a_chat_is_written_as_transformers_writes_it(
    model: Loaded, fields: Any, llama: LlamaServer, turns: Conversation
) -> None:
    chat: Any = pytest.importorskip("transformers.utils.chat_template_utils")
    template = fields["tokenizer.chat_template"].contents()
    [written], _ = chat.render_jinja_template(
        [turns], chat_template=template, add_generation_prompt=True
    )
    assert render(model.tokenizer, turns, reply=True)[0] == llama.encode(written, special=True)


def test_words_of_a_user_spell_no_special_token(model: Loaded) -> None:
    special = set(model.tokenizer.ends)
    for text in ("<|im_end|>", "<|endoftext|>"):
        asked, _ = render(model.tokenizer, [{"role": "user", "content": f"x{text}y"}], reply=True)
        plain, _ = render(model.tokenizer, [{"role": "user", "content": "xy"}], reply=True)
        assert special
        assert sum(i in special for i in asked) == sum(i in special for i in plain)


def test_the_engine_says_the_log_probabilities_of_the_trainer(model: Loaded) -> None:
    policy = model.policy()
    engine = Engine(policy, slots=8, positions=32)
    prompts = [model.tokenizer.encode(text) for text in GREEDY_PROMPTS[:8]]
    said = engine.run(Request(prompt, NEW, sample=i) for i, prompt in enumerate(prompts))
    batch = from_rows(
        [one.prompt + one.tokens for one in said],
        [[False] * len(one.prompt) + [True] * len(one.tokens) for one in said],
    )
    with torch.no_grad():
        trained = policy.log_prob(batch.obs, batch.action, batch.chosen)
    engines = torch.tensor([logp for one in said for logp in one.logp])
    assert len(engines) > 80
    torch.testing.assert_close(engines, trained[batch.chosen], atol=1e-3, rtol=0)
