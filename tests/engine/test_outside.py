"""The outside engine says what an engine with the same weights says, and what goes wrong at the
server stays with its request.
"""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fledge.engine import structures
from fledge.engine.completions_api import derive_seed, is_unaltered
from fledge.engine.outside import OutsideEngine
from fledge.engine.request import Completion, Request
from fledge.engine.vocabulary import Vocabulary
from fledge.errors import UserError
from fledge.log_prob import Decoding
from tests.engine.openai_stub import VOCABULARY, engine

ROOT = Path(__file__).parents[2]
GREEDY = Decoding(temperature=0)


class Stub:
    """The server's process."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.engine.openai_stub", "--port", "0"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def behave(self, **how: Any) -> None:
        urllib.request.urlopen(f"{self.url}/told", json.dumps(how).encode()).close()

    def told(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/told") as reply:
            return json.loads(reply.read())

    def engine(self, model: str | None = "tiny", **settings: Any) -> OutsideEngine:
        given: dict[str, Any] = {"vocab_size": 11, "context": 32} | settings
        return OutsideEngine(self.url, model, **given)


@pytest.fixture(scope="module")
def process() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.process.kill()
    stub.process.communicate()


@pytest.fixture
def stub(process: Stub) -> Stub:
    process.behave()
    return process


def prompts(n: int) -> list[list[int]]:
    return [[(3 * i + j * j) % 11 for j in range(1 + i % 5)] for i in range(n)]


def inside(requests: list[Request]) -> list[Completion]:
    """What an engine in this process answers, drawing with the seeds that a server is given."""
    return engine().run(
        [dataclasses.replace(request, seed=derive_seed(request), sample=0) for request in requests]
    )


def agree(requests: list[Request], ours: list[Completion], processed: bool = False) -> None:
    for request, our, its in zip(requests, ours, inside(requests), strict=True):
        assert (our.prompt, our.tokens, our.ended, our.error) == (
            its.prompt,
            its.tokens,
            its.ended,
            its.error,
        )
        told, untold = ("logp", "raw_logp") if processed else ("raw_logp", "logp")
        if not request.rule.greedy or not processed:
            assert getattr(our, told) == pytest.approx(getattr(its, told), abs=1e-5)
        if is_unaltered(request) or (request.rule.greedy and not processed):
            assert getattr(our, untold) == pytest.approx(getattr(its, untold), abs=1e-5)
        else:
            assert len(getattr(our, untold)) == len(its.tokens)
            assert all(map(math.isnan, getattr(our, untold)))
        assert [[token for token, _ in step] for step in our.alternatives] == [
            [token for token, _ in step] for step in its.alternatives
        ]
        for a, b in zip(our.alternatives, its.alternatives, strict=True):
            assert [value for _, value in a] == pytest.approx([value for _, value in b], abs=1e-5)


FIELDS: dict[str, dict[str, Any]] = {
    "greedy": {"rule": GREEDY},
    "greedy by top_k": {"rule": Decoding(top_k=1)},
    "plain": {},
    "temperature": {"rule": Decoding(temperature=0.7)},
    "top_k": {"rule": Decoding(top_k=3)},
    "top_p": {"rule": Decoding(temperature=1.3, top_p=0.6)},
    "min_p": {"rule": Decoding(min_p=0.3)},
    "stop": {"stop": frozenset({4, 7})},
    "min_new_tokens": {"stop": frozenset({2, 4, 7, 9}), "min_new_tokens": 6},
    "stop_strings": {"stop_strings": ("aa", "c", "hg")},
    "repetition_penalty": {"rule": GREEDY, "repetition_penalty": 1.8},
    "presence_penalty": {"rule": GREEDY, "presence_penalty": 1.5},
    "frequency_penalty": {"rule": GREEDY, "frequency_penalty": 0.9},
    "logit_bias": {"logit_bias": {2: 3.0, 5: -math.inf, 6: -0.5}},
    "alternatives": {"alternatives": 4, "rule": Decoding(temperature=2.0)},
    "room": {"max_new_tokens": 1000, "min_new_tokens": 900, "stop": frozenset({4})},
}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS.keys())
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_every_field_means_there_what_it_means_here(
    stub: Stub, fields: dict[str, Any], streamed: bool
) -> None:
    given: dict[str, Any] = {"max_new_tokens": 14, "seed": 5} | fields
    requests = [Request(prompt, sample=i, **given) for i, prompt in enumerate(prompts(8))]
    heard: dict[int, list[int]] = {i: [] for i in range(8)}
    ours = stub.engine().run(
        requests, (lambda i, token: heard[i].append(token)) if streamed else None
    )
    agree(requests, ours)
    assert not streamed or list(heard.values()) == [completion.tokens for completion in ours]


def test_a_server_of_processed_log_probabilities_tells_those_of_what_was_sampled(
    stub: Stub,
) -> None:
    stub.behave(logprobs_mode="processed_logprobs")
    rules = [Decoding(), Decoding(temperature=0.7), Decoding(top_k=3), GREEDY]
    requests = [
        Request(prompt, 10, rule=rule) for prompt, rule in zip(prompts(4), rules, strict=True)
    ]
    ours = stub.engine(logprobs="processed").run(requests)
    agree(requests, ours, processed=True)
    assert ours[3].logp == [0.0] * 10
    asked = [dataclasses.replace(request, alternatives=2) for request in requests]
    fine, *refused = stub.engine(logprobs="processed").run(asked)
    agree(asked[:1], [fine], processed=True)
    assert all("processed" in (completion.error or "") for completion in refused)


def test_answers_come_in_the_order_of_the_requests_with_no_more_at_once_than_allowed(
    stub: Stub,
) -> None:
    requests = [Request(prompt, 1 + 7 * i % 20, sample=i) for i, prompt in enumerate(prompts(40))]
    agree(requests, stub.engine(concurrent=6).run(requests))
    assert 1 < stub.told()["most"] <= 6


def test_numbers_of_rows_go_on_from_run_to_run_and_tokens_are_heard_in_the_callers_thread(
    stub: Stub,
) -> None:
    outside, heard = stub.engine(), []
    for _ in range(2):
        outside.run(
            [Request([2], 3)] * 2,
            lambda number, _: heard.append((number, threading.current_thread())),
        )
    assert {number for number, _ in heard} == {0, 1, 2, 3}
    assert {thread for _, thread in heard} == {threading.current_thread()}


def test_a_seed_and_a_sample_make_one_seed() -> None:
    seeds = {
        derive_seed(Request([2], seed=seed, sample=sample))
        for seed in range(30)
        for sample in range(30)
    }
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_least_length_is_not_sent_without_a_stop_token(stub: Stub) -> None:
    stub.engine().run([Request([2], 5, min_new_tokens=3)])
    assert stub.told()["bodies"][0]["min_tokens"] == 0


def test_a_request_that_cannot_be_answered_gets_the_error_it_gets_here_and_is_not_sent(
    stub: Stub,
) -> None:
    wrong = [
        Request([]),
        Request([2] * 32),
        Request([11]),
        Request([2], 0),
        Request([2], 3, min_new_tokens=4),
    ]
    assert stub.engine().run(wrong) == engine().run(wrong)
    assert stub.told()["bodies"] == []


def test_what_a_server_cannot_be_told_is_an_error(stub: Stub) -> None:
    word = structures.choice(["ab"], Vocabulary(VOCABULARY), [])
    bound, heavy, plain = stub.engine().run(
        [Request([2], constraint=word), Request([2], logit_bias={3: 101.0}), Request([2])]
    )
    assert "constraint was given, which an outside server does not know" in (bound.error or "")
    assert "101" in (heavy.error or "")
    assert plain.ended == "length"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_refused_request_keeps_the_servers_words_and_its_neighbours_go_on(
    stub: Stub, streamed: bool
) -> None:
    requests = [Request([2], 5, sample=i, presence_penalty=3.0 * (i == 1)) for i in range(4)]
    ours = stub.engine().run(requests, (lambda *_: None) if streamed else None)
    agree([requests[i] for i in (0, 2, 3)], [ours[i] for i in (0, 2, 3)])
    assert (ours[1].ended, ours[1].tokens) == ("error", [])
    assert "HTTP 400: presence_penalty must be in [-2, 2], got 3.0." in (ours[1].error or "")


@pytest.mark.parametrize("faults", [["500", "503"], ["break", "break"], ["429"]], ids=" ".join)
def test_a_server_that_fails_and_recovers_is_asked_again(stub: Stub, faults: list[str]) -> None:
    stub.behave(faults=faults)
    agree([Request([2], 5)], stub.engine().run([Request([2], 5)]))
    assert len(stub.told()["bodies"]) == len(faults) + 1


FAULTS = {
    "500 500 500 500 500": "did not answer to the end .HTTP 500: as the test told it to.",
    "break break break break break": "did not answer to the end",
    "html": "no JSON .b'<html>Welcome",
    "no logprobs": "return_tokens_as_token_ids",
    "spelled out": "return_tokens_as_token_ids",
    "end": "--generation-config vllm",
    "hang": "silent for 2.0 s",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_does_not_answer_well_is_an_error_of_that_request(
    stub: Stub, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fledge.engine.outside.PAUSES_S", (0.01,) * 4)
    faults = [fault] if fault in ("no logprobs", "spelled out") else fault.split()
    stub.behave(faults=faults)
    bad, good = stub.engine(concurrent=1, timeout=2.0).run([Request([2], 5), Request([3], 5)])
    assert (bad.ended, bad.tokens) == ("error", [])
    with pytest.raises(UserError, match=FAULTS[fault]):
        raise UserError(bad.error)
    agree([Request([3], 5)], [good])


def test_a_server_may_think_longer_than_it_may_take_to_connect(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fledge.engine.outside.CONNECT_S", 0.3)
    stub.behave(faults=["slow"])
    agree([Request([2], 5)], stub.engine().run([Request([2], 5)]))


@pytest.mark.parametrize("fault", ["break after 3", "error after 3"])
def test_a_stream_that_breaks_off_is_an_error_and_no_token_is_heard_twice(
    stub: Stub, fault: str
) -> None:
    stub.behave(faults=[fault])
    heard = []
    (bad,) = stub.engine().run([Request([2], 20)], lambda _, token: heard.append(token))
    assert (bad.ended, bad.tokens) == ("error", [])
    assert ("broke off" if fault == "break after 3" else "out of memory") in (bad.error or "")
    assert heard == inside([Request([2], 20)])[0].tokens[: len(heard)]
    assert 3 <= len(heard) < 20
    assert len(stub.told()["bodies"]) == 1


def test_a_token_outside_the_vocabulary_is_an_error(stub: Stub) -> None:
    (bad,) = stub.engine(vocab_size=3).run([Request([2], 20)])
    assert "outside the vocabulary of 3" in (bad.error or "")


def test_an_unknown_model_is_an_error_of_every_request(stub: Stub) -> None:
    ours = stub.engine("other").run([Request([2])] * 2)
    assert all(
        "The model `other` does not exist." in (completion.error or "") for completion in ours
    )


def test_the_only_model_is_found_and_several_or_none_must_be_named(stub: Stub) -> None:
    assert stub.engine(None).model == "tiny"
    assert OutsideEngine(stub.url + "/v1/", vocab_size=11, context=32).model == "tiny"
    for models in ([], ["one", "other"]):
        stub.behave(models=models)
        with pytest.raises(UserError, match=f"serves {len(models)} models"):
            stub.engine(None)


def test_the_key_is_sent(stub: Stub) -> None:
    stub.behave(api_key="secret")
    with pytest.raises(UserError, match="HTTP 401"):
        stub.engine(None)
    keyed = stub.engine(None, api_key="secret")
    assert keyed.run([Request([2], 2)])[0].ended == "length"


def test_no_server_at_all_is_said_with_the_url() -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))  # taken, and nobody listens
        url = f"http://127.0.0.1:{place.getsockname()[1]}"
        with pytest.raises(UserError, match=f"no server answers at {url} .*start one"):
            OutsideEngine(url, vocab_size=11, context=32)
        outside = OutsideEngine(url, "tiny", vocab_size=11, context=32)
        with pytest.raises(UserError, match=f"no server answers at {url} .*start one"):
            outside.run([Request([2])])
        assert outside.run([]) == []


def test_a_server_that_accepts_and_says_nothing_is_told_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fledge.engine.outside.ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system accepts for it
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        sentence = f"the server at {url} accepts connections and has said nothing for 0.3 s"
        with pytest.raises(UserError, match=sentence):
            OutsideEngine(url, vocab_size=11, context=32)
        outside = OutsideEngine(url, "tiny", vocab_size=11, context=32)
        with pytest.raises(UserError, match=sentence):
            outside.run([Request([2])])


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://there", "http://", "http://there:port"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UserError, match=url):
        OutsideEngine(url, "tiny", vocab_size=11, context=32)


def test_completions_carry_the_version_that_the_caller_set(stub: Stub) -> None:
    outside = stub.engine()
    outside.version = 7
    assert [completion.version for completion in outside.run([Request([2], 2), Request([])])] == [
        7,
        7,
    ]


def test_an_error_of_the_listener_ends_the_run_and_the_server_is_hung_up_on(stub: Stub) -> None:
    stub.behave(faults=["", "hang"])

    def listen(number: int, token: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        stub.engine().run([Request([2], 5)] * 2, listen)
    idle(stub)


def test_ctrl_c_ends_a_run_at_once_and_the_server_is_hung_up_on(stub: Stub) -> None:
    stub.behave(faults=["hang"] * 40)
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom "
        "fledge.engine.outside import OutsideEngine\nfrom fledge.engine.request import "
        f"Request\nOutsideEngine({stub.url!r}, vocab_size=11, context=32, "
        "concurrent=4).run([Request([2])] * 40)\n"
    )
    client = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    while stub.told()["live"] < 4:
        assert client.poll() is None
        time.sleep(0.05)
    client.send_signal(signal.SIGINT)
    said = client.communicate(timeout=8)[1]
    assert said.rstrip().endswith("KeyboardInterrupt")
    idle(stub)


def idle(stub: Stub) -> None:
    """The server is through with all that was asked."""
    until = time.monotonic() + 8
    while stub.told()["live"]:
        assert time.monotonic() < until
        time.sleep(0.02)
