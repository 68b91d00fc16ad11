"""Choices by likelihood, against the network asked about one row at a time, and arithmetic."""

from __future__ import annotations

import pytest
import torch

from fledge.evaluate.suites.answering import answer
from fledge.evaluate.suites.beginnings import Row
from fledge.evaluate.suites.choosing import Chosen, arrange, choose, encode_pair, measure_rows
from fledge.evaluate.suites.questions import AskedQuestion, ChoiceQuestion
from fledge.hub.folder import Loaded, load_model
from fledge.log_prob import Decoding
from fledge.models.language.transformer import Transformer
from fledge.models.language.transformer_config import TransformerConfig
from fledge.policy import TokenPolicy
from fledge.text.asking import encode_prompt
from tests.serve.models import make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load_model(make_model(tmp_path_factory.mktemp("model") / "one", context=64))


@pytest.fixture(scope="module")
def wide(model: Loaded) -> TokenPolicy:
    """Wide enough that a prompt which several rows have is computed once."""
    config = TransformerConfig(
        vocab_size=model.tokenizer.vocab_size, layers=1, width=512, heads=4, mlp_width=64,
        context=64,
    )  # fmt: skip
    network = Transformer(config, generator=torch.Generator().manual_seed(3))
    assert network.shares_prompts
    return TokenPolicy(network.eval())


def ask(text: str, *choices: str) -> ChoiceQuestion:
    context = f"the cat {text}"
    continuations = tuple(f" {choice}" for choice in choices)
    return ChoiceQuestion((context,) * len(choices), continuations, choices, 0, "so", text)


QUESTIONS = [
    ask("sat on", "a mat", "green hills and old rivers", "seven"),
    ask("sang over seven birds while", "rivers", "mat"),
    ask("sat", "on", "a", "hills", "birds sang over"),
]


@torch.no_grad()
def measure_alone(policy: TokenPolicy, before: list[int], said: list[int]) -> tuple[float, bool]:
    """log π of what is said, from the logits of one row, token by token."""
    row = torch.tensor([[*before, *said]])
    logits = policy.logits(policy.hidden(row[:, :-1])[0])[len(before) - 1 :]
    logp = logits.double().log_softmax(-1)
    best = logits.argmax(-1).tolist() == said
    return sum(float(logp[i, token]) for i, token in enumerate(said)), best


@pytest.mark.parametrize("at_a_time", [1, 40, 4096])
@pytest.mark.parametrize("which", ["model", "wide"])
def test_every_choice_has_the_nats_of_its_row_alone(
    which: str, at_a_time: int, model: Loaded, wide: TokenPolicy
) -> None:
    policy = model.policy() if which == "model" else wide
    tokenizer = model.tokenizer
    chosen = choose(policy, tokenizer, QUESTIONS, [""] * 3, at_a_time=at_a_time)
    for question, told in zip(QUESTIONS, chosen, strict=True):
        for i, said in enumerate(question.continuations):
            whole = tokenizer.open_text(question.contexts[i] + said)
            start = len(tokenizer.open_text(question.contexts[i]))
            alone, _ = measure_alone(policy, whole[:start], whole[start:])
            assert told.nats[i] == pytest.approx(alone, abs=2e-4)
            assert told.tokens[i] == len(whole) - start
            assert told.bytes[i] == len(said) - 1
            whole = tokenizer.open_text("so" + said)
            start = len(tokenizer.open_text("so"))
            alone, _ = measure_alone(policy, whole[:start], whole[start:])
            assert told.neutral[i] == pytest.approx(alone, abs=2e-4)


def test_the_four_rules_are_their_formulas() -> None:
    told = Chosen([-4.0, -6.0, -5.0], [-1.0, -6.0, -2.5], [1, 4, 2], [2, 4, 10])
    assert [told.answer(rule) for rule in ("raw", "byte", "token", "pmi")] == [0, 2, 1, 1]
    assert told.scores("byte") == [-2.0, -1.5, -0.5]
    assert told.scores("pmi") == [-3.0, 0.0, -2.5]


def test_the_likeliest_token_everywhere_is_told(model: Loaded) -> None:
    policy, tokenizer = model.policy(), model.tokenizer
    before = tokenizer.open_text("the cat")
    said = list[int]()
    for _ in range(4):
        row = torch.tensor([[*before, *said]])
        said.append(int(policy.logits(policy.hidden(row)[0, -1:]).argmax()))
    other = [*said[:3], (said[3] + 1) % 100]
    rows = [Row([*before, *said], len(before)), Row([*before, *other], len(before))]
    assert [best for _, best in measure_rows(policy, rows)] == [True, False]


def test_what_is_longer_than_the_context_loses_its_beginning(model: Loaded) -> None:
    tokenizer = model.tokenizer
    row = encode_pair(tokenizer, "the cat sat on a mat " * 40, " seven birds", 64)
    assert len(row.tokens) == 65  # the last of them is not read
    said = tokenizer.decode(row.tokens[row.start :])
    assert said.strip() == "seven birds"
    assert encode_pair(tokenizer, "", "seven", 64).start >= 1
    # a blank at the end of the context is the continuation's
    whole = encode_pair(tokenizer, "the cat ", "sat", 64)
    assert whole == encode_pair(tokenizer, "the cat", " sat", 64)


def test_rows_with_one_beginning_stand_side_by_side() -> None:
    prompts = [[1] * 40, [2] * 3, [3] * 40]
    rows = [Row([*prompts[i % 3], *[9] * (1 + i)], len(prompts[i % 3])) for i in range(9)]
    # what follows has up to 7, 8 and 9 tokens: 8 and 9 are alike, and the longer prompt is first
    assert [i % 3 for i in arrange(rows)] == [2, 2, 2, 1, 1, 1, 0, 0, 0]


def test_a_turn_is_asked_by_the_chat_template(model: Loaded) -> None:
    tokenizer, policy = model.tokenizer, model.policy()
    [told] = choose(policy, tokenizer, QUESTIONS[:1], [""], chat=True, pmi=False)
    before = encode_prompt(tokenizer, "the cat sat on")
    alone, _ = measure_alone(policy, before, tokenizer.encode("a mat"))
    assert told.nats[0] == pytest.approx(alone, abs=2e-4)
    assert told.neutral == [0.0] * 3


def test_answers_end_where_their_suite_ends_them(model: Loaded) -> None:
    """What one row says greedily, computed here, cut at a text that stands in it."""
    policy, tokenizer = model.policy(), model.tokenizer
    before, said = tokenizer.open_text("the cat"), list[int]()
    for _ in range(12):
        row = torch.tensor([[*before, *said]])
        said.append(int(policy.logits(policy.hidden(row)[0, -1:]).argmax()))
        if said[-1] in tokenizer.ends:
            break
    text = tokenizer.decode(said)
    stop = next(letter for letter in text[1:] if letter.isascii())
    plain = AskedQuestion("the cat", "", (), "", {})
    cut = AskedQuestion("the cat", "", (stop,), "", {})
    told = answer(
        policy, tokenizer, [plain, cut], ["", ""], max_new_tokens=12, rule=Decoding(0), samples=2
    )
    assert [one.text for one in told[0]] == [text] * 2
    assert [one.text for one in told[1]] == [text[: text.index(stop)]] * 2
    assert told[1][0].stopped
