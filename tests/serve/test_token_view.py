"""What the page is told of tokens, held against the policy; and what it is refused."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import torch

from fledge.hub.folder import load_model
from fledge.text.chat import Conversation, render
from tests.serve.conftest import Running

ASKED: Conversation = [{"role": "user", "content": "the cat sat"}]


def post(running: Running, path: str, body: Any) -> tuple[int, Any]:
    request = Request(
        running.url + path, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except HTTPError as error:
        return error.code, json.load(error)


def test_tokens_have_the_policys_log_probability_and_the_likeliest_beside_it(
    running: Running,
) -> None:
    one, two = (load_model(running.folders[name]) for name in ("one", "two"))
    said = [*one.tokenizer.encode("on a mat"), min(one.tokenizer.ends)]
    body = {"model": "one", "messages": ASKED, "tokens": said, "against": "two"}
    status, told = post(running, "/fledge/tokens", body)
    assert status == 200
    prompt, _ = render(one.tokenizer, ASKED, reply=True)
    row = torch.tensor([[*prompt, *said]])
    own, other = (m.policy().log_prob(row, row[:, 1:])[0, len(prompt) - 1 :] for m in (one, two))
    assert [token["id"] for token in told["tokens"]] == said
    assert [token["end"] for token in told["tokens"]] == [False] * (len(said) - 1) + [True]
    given = torch.tensor([[token["logp"], token["against"]] for token in told["tokens"]])
    torch.testing.assert_close(given[:, 0], own.detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(given[:, 1], other.detach(), atol=1e-5, rtol=0)
    for place, token in enumerate(told["tokens"]):
        # each alternative by a forward pass of its own
        at = torch.tensor([[*prompt, *said[:place], 0]])
        for best in token["top"]:
            at[0, -1] = best["id"]
            alone = one.policy().log_prob(at, at[:, 1:])[0, -1]
            assert best["logp"] == pytest.approx(float(alone.detach()), abs=1e-5)
        chances = [best["logp"] for best in token["top"]]
        assert chances == sorted(chances, reverse=True)
        assert token["logp"] <= chances[0] + 1e-6


def test_an_answer_as_text_is_measured_by_its_tokens(running: Running) -> None:
    tokenizer = load_model(running.folders["one"]).tokenizer
    body = {"model": "one", "messages": ASKED, "answer": "green hills"}
    _, told = post(running, "/fledge/tokens", body)
    assert [token["id"] for token in told["tokens"]] == tokenizer.encode("green hills")
    assert "".join(token["text"] for token in told["tokens"]) == "green hills"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/fledge/tokens", {"messages": ASKED, "tokens": [10**9]}, 400),
        ("/fledge/tokens", {"messages": ASKED, "tokens": [-1]}, 400),
        ("/fledge/tokens", {"messages": ASKED, "tokens": []}, 400),
        ("/fledge/tokens", {"messages": ASKED, "answer": ""}, 400),
        ("/fledge/tokens", {"messages": ASKED}, 400),
        ("/fledge/tokens", {"messages": ASKED, "answer": "a", "tokens": [9]}, 400),
        ("/fledge/tokens", {"messages": ASKED, "answer": "a " * 3000}, 400),
        ("/fledge/tokens", {"messages": ASKED, "answer": "a", "model": "three"}, 404),
        ("/fledge/tokens", {"messages": ASKED, "answer": "a", "against": "/etc/passwd"}, 404),
        ("/fledge/tokens", {"messages": [], "answer": "a"}, 400),
        ("/fledge/tokens", {"messages": [{"role": "king", "content": "a"}], "answer": "a"}, 400),
        ("/fledge/tokens", {"messages": [{"role": "user", "content": 3}], "answer": "a"}, 400),
        ("/fledge/tokens", {"messages": ASKED, "answer": "a" * 1_000_000}, 400),
        ("/fledge/score", {"messages": [*ASKED, *ASKED], "reward_model": "one"}, 404),
        ("/fledge/votes", {"messages": ASKED, "answers": ["a", "b"], "preferred": 0}, 403),
        ("/fledge/votes", {"messages": ASKED, "answers": ["a", "a"], "preferred": 0}, 400),
        ("/fledge/votes", {"messages": ASKED, "answers": ["a", "b"], "preferred": 2}, 400),
        ("/fledge/votes", {"messages": ASKED, "answers": ["a"], "preferred": 0}, 400),
        ("/fledge/thumbs", {"messages": ASKED * 2, "label": True}, 400),
        ("/fledge/thumbs", {"messages": ASKED * 2, "label": "yes"}, 400),
        ("/fledge/votes", {"votes": "/tmp/mine.jsonl"}, 400),
    ],
)
def test_what_cannot_be_told_is_one_sentence(
    running: Running, path: str, body: Any, status: int
) -> None:
    code, told = post(running, path, body)
    assert code == status
    assert told["error"]["message"]
    assert "Traceback" not in told["error"]["message"]


@pytest.mark.parametrize("path", ["1/metrics", "9/report", "..%2f..%2fetc/metrics", "-1/metrics"])
def test_a_run_has_a_number_and_no_path(running: Running, path: str) -> None:
    with pytest.raises(HTTPError) as error:
        urlopen(f"{running.url}/fledge/runs/{path}", timeout=60)
    assert error.value.code == 404


@pytest.mark.parametrize("name", ["..%2fapp.py", "%2e%2e/app.py", "page.py", "../../setup.py"])
def test_the_page_has_its_own_files_alone(running: Running, name: str) -> None:
    with pytest.raises(HTTPError) as error:
        urlopen(f"{running.url}/page/{name}", timeout=60)
    assert error.value.code == 404
