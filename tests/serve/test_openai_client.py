"""OpenAI's own client, as it comes from the package index, against `fledge serve` in a process of
its own: what it reads is what the model says by the whole forward pass.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.hub.folder import Loaded, load_model
from fledge.text.chat import Conversation, render
from tests.serve.models import make_model
from tests.serve.process import Server, start_server
from tests.subjects import go_on_greedily

openai: Any = pytest.importorskip("openai")

KEY = "sk-of-the-tests"
QUESTION: Conversation = [
    {"role": "system", "content": "old rivers"},
    {"role": "user", "content": "seven birds"},
]
Model = tuple[Path, Loaded]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = make_model(
        tmp_path_factory.mktemp("served") / "tiny", seed=1, context=256, kind="characters"
    )
    return folder, load_model(folder)


@pytest.fixture(scope="module")
def server(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    other = make_model(tmp_path_factory.mktemp("other") / "other", seed=2, context=256)
    environment = {"FLEDGE_KEY": KEY, "OMP_NUM_THREADS": "1"}
    with start_server(model[0], other, env=environment, slots=4, queue=8) as started:
        yield started
        assert started.stop() == 0, started.lines


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)


def encode(model: Model) -> list[int]:
    return render(model[1].tokenizer, QUESTION, reply=True)[0]


def spell(model: Model, tokens: list[int]) -> str:
    """Without the token that ends a row, which is no text."""
    ends = model[1].tokenizer.ends
    return model[1].tokenizer.decode([token for token in tokens if token not in ends])


def chat(client: Any, **fields: Any) -> Any:
    given = {"model": "tiny", "messages": QUESTION, "max_tokens": 12, "temperature": 0} | fields
    return client.chat.completions.create(**given)


def log_prob(model: Model, ids: list[int]) -> list[float]:
    """log π(x_t | x_<t) of every token after the first, by the policy itself."""
    row = torch.tensor([ids])
    with torch.inference_mode():
        return model[1].policy().log_prob(row, row[:, 1:])[0].tolist()


def test_the_models_are_listed(client: Any) -> None:
    assert [one.id for one in client.models.list()] == ["tiny", "other"]
    assert client.models.retrieve("other").id == "other"


def test_an_answer_whole_and_streamed(client: Any, model: Model) -> None:
    prompt = encode(model)
    said = go_on_greedily(model[1], prompt, 12)
    whole = chat(client)
    [choice] = whole.choices
    assert (choice.message.role, choice.message.content) == ("assistant", spell(model, said))
    assert choice.finish_reason == "length"
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (len(prompt), 12)
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    deltas = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(deltas) == spell(model, said)
    assert len([delta for delta in deltas if delta]) > 3  # as they come
    assert [c.finish_reason for chunk in chunks for c in chunk.choices][-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all("usage" in chunk.model_fields_set for chunk in chunks)
    assert {chunk.usage for chunk in chunks[:-1]} == {None}
    assert chat(client, model="other").choices[0].message.content != choice.message.content


def test_several_draws_and_their_seed(client: Any) -> None:
    drawn = {"temperature": 1.5, "seed": 11, "n": 3}
    texts = [choice.message.content for choice in chat(client, **drawn).choices]
    assert len(set(texts)) == 3
    again = chat(client, **drawn, stream=True)
    streamed = ["", "", ""]
    for chunk in again:
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts
    assert chat(client, temperature=1.5, seed=11).choices[0].message.content == texts[0]
    assert chat(client, temperature=1.5, seed=12).choices[0].message.content != texts[0]
    assert len({chat(client, temperature=1.5).choices[0].message.content for _ in range(3)}) == 3


def test_a_stop_text_ends_it_and_is_not_shown(client: Any, model: Model) -> None:
    text = spell(model, go_on_greedily(model[1], encode(model), 12))
    stop = text[5:8]
    for stream in (False, True):
        answer = chat(client, stop=[stop, "never said"], stream=stream)
        chunks = list(answer) if stream else [answer]
        choices = [choice for chunk in chunks for choice in chunk.choices]
        said = [c.delta.content if stream else c.message.content for c in choices]
        assert "".join(one or "" for one in said) == text[: text.index(stop)]
        assert choices[-1].finish_reason == "stop"


def test_log_probabilities_are_the_policys(client: Any, model: Model) -> None:
    prompt = encode(model)
    answer = chat(client, temperature=1, seed=3, logprobs=True, top_logprobs=4,
                  extra_body={"return_token_ids": True})  # fmt: skip
    content = answer.choices[0].logprobs.content
    ids = [each.token_id for each in content]
    expected = log_prob(model, prompt + ids)[len(prompt) - 1 :]
    assert len(content) == answer.usage.completion_tokens
    for each, logp in zip(content, expected, strict=True):
        assert math.isclose(each.logprob, logp, abs_tol=1e-5)
        best = [one.logprob for one in each.top_logprobs]
        assert len(best) == 4
        assert best == sorted(best, reverse=True)
        assert sum(map(math.exp, best)) <= 1 + 1e-5
        assert best[0] >= each.logprob - 1e-6
    assert bytes(b for each in content for b in each.bytes or []).decode(errors="replace") == (
        answer.choices[0].message.content
    )
    pieces = chat(client, temperature=1, seed=3, logprobs=True, top_logprobs=4, stream=True)
    streamed = [
        each.logprob
        for chunk in pieces
        for choice in chunk.choices
        if choice.logprobs
        for each in choice.logprobs.content
    ]
    stops = model[1].tokenizer.ends  # told of where ids were asked for
    own = [each.logprob for each in content if each.token_id not in stops]
    assert streamed == pytest.approx(own, abs=1e-6)


def test_an_answer_that_begins_with_chosen_tokens(client: Any, model: Model) -> None:
    prompt, begin = encode(model), model[1].tokenizer.encode("green hills")
    said = go_on_greedily(model[1], prompt + begin, 6)
    answer = chat(client, max_tokens=6, extra_body={"continue_tokens": begin})
    assert answer.choices[0].message.content == spell(model, begin + said)


def test_running_text_echoed_with_its_log_probabilities(client: Any, model: Model) -> None:
    tokenizer = model[1].tokenizer
    text = "the cat sat on"
    prompt = [*tokenizer.prefix, *tokenizer.encode(text)]
    given = {"model": "tiny", "prompt": text, "max_tokens": 5, "temperature": 0}
    answer = client.completions.create(**given, echo=True, logprobs=2)
    said = go_on_greedily(model[1], prompt, 5)
    [choice] = answer.choices
    assert choice.text.endswith(text + spell(model, said))
    told = choice.logprobs
    assert told.token_logprobs[0] is None
    expected = log_prob(model, prompt + said)[: len(told.tokens) - 1]
    assert told.token_logprobs[1:] == pytest.approx(expected, abs=1e-5)
    assert "".join(told.tokens) == choice.text  # a character is a token here
    assert told.text_offset == [sum(map(len, told.tokens[:i])) for i in range(len(told.tokens))]
    assert all(len(best) >= 2 for best in told.top_logprobs[1:])
    streamed = client.completions.create(**given, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == spell(model, said)
    alone = client.completions.create(**given | {"prompt": prompt, "n": 2, "temperature": 1.0})
    assert len(alone.choices) == 2
    with pytest.raises(openai.BadRequestError, match="suffix"):
        client.completions.create(**given, suffix="mat")


def test_the_best_of_several(client: Any, model: Model) -> None:
    given = {"model": "tiny", "prompt": "old", "max_tokens": 6, "temperature": 1.5, "seed": 5}
    every = client.completions.create(**given, n=6, logprobs=0).choices
    best = client.completions.create(**given, n=2, best_of=6).choices
    ranked = sorted(every, key=lambda one: -sum(one.logprobs.token_logprobs))
    assert [one.text for one in best] == [one.text for one in ranked[:2]]


def test_embeddings_are_the_mean_of_the_hidden_states(client: Any, model: Model) -> None:
    tokenizer, policy = model[1].tokenizer, model[1].policy()
    texts = ["a mat", "seven birds sang"]
    answer = client.embeddings.create(model="tiny", input=texts)  # base64 on the way
    plain = client.embeddings.create(model="tiny", input=texts, encoding_format="float")
    for text, one, other in zip(texts, answer.data, plain.data, strict=True):
        ids = tokenizer.encode(text)
        row = torch.tensor([[*tokenizer.opening, *ids]])
        with torch.inference_mode():
            mean = policy.hidden(row)[0, -len(ids) :].mean(0)
        assert one.embedding == pytest.approx(mean.tolist(), abs=1e-5)
        assert other.embedding == pytest.approx(one.embedding, abs=1e-6)
    assert answer.usage.prompt_tokens == sum(len(tokenizer.encode(text)) for text in texts)


def test_responses_whole_and_streamed(client: Any, model: Model) -> None:
    given = {
        "model": "tiny",
        "instructions": QUESTION[0]["content"],
        "input": QUESTION[1]["content"],
        "max_output_tokens": 16,
        "temperature": 0,
    }
    said = go_on_greedily(model[1], encode(model), 16)
    answer = client.responses.create(**given)
    assert answer.output_text == spell(model, said)
    assert answer.usage.output_tokens == len(said)
    events = list(client.responses.create(**given, stream=True))
    assert events[0].type == "response.created"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == spell(model, said)
    assert events[-1].type in ("response.completed", "response.incomplete")
    assert events[-1].response.output_text == spell(model, said)
    with client.responses.stream(**given) as stream:
        assert "".join(
            event.delta for event in stream if event.type == "response.output_text.delta"
        ) == spell(model, said)


def test_what_is_wrong_is_raised_as_openai_raises_it(client: Any, server: Server) -> None:
    with pytest.raises(openai.NotFoundError, match="tiny, other"):
        chat(client, model="gpt-4")
    with pytest.raises(openai.BadRequestError, match="temperature") as wrong:
        chat(client, temperature="hot")
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.BadRequestError, match="shorten") as wrong:
        chat(client, messages=[{"role": "user", "content": "cat " * 2000}])
    assert wrong.value.code == "context_length_exceeded"
    stranger = openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-another", max_retries=0)
    with pytest.raises(openai.AuthenticationError, match="key"):
        chat(stranger)


def test_many_at_once_and_one_too_many(client: Any, server: Server, model: Model) -> None:
    """Four slots and eight places in the queue: twelve clients are answered side by side, a
    thirteenth is told to come again, and heard once the others have gone.
    """
    many = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)

    async def run() -> list[str]:
        ask = {"model": "tiny", "messages": QUESTION, "extra_body": {"ignore_eos": True}}
        # All at once: one after the other, the first has ended on a busy machine before the last.
        opening = (
            many.chat.completions.create(**ask, max_tokens=200, stream=True, seed=i)
            for i in range(12)
        )
        streams = await asyncio.gather(*opening)
        with pytest.raises(openai.RateLimitError):
            await many.chat.completions.create(**ask, max_tokens=4)
        for stream in streams[1:]:
            await stream.close()
        text = ""
        async for chunk in streams[0]:
            text += chunk.choices[0].delta.content or ""
        for _ in range(100):
            try:
                again = await many.chat.completions.create(**ask, max_tokens=200, seed=0)
                return [text, again.choices[0].message.content]
            except openai.RateLimitError:
                await asyncio.sleep(0.1)
        raise AssertionError("the slots were never free again")

    alone, again = asyncio.run(run())
    assert alone == again
