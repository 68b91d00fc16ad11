"""A policy that learns from what llama.cpp's own server says with its weights: read by a process
that the reload command starts anew; and what a server or a command does wrong, in a sentence.
"""

from __future__ import annotations

import io
import json
import math
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from fledge.engine.engine import Engine
from fledge.engine.outside import OutsideEngine
from fledge.engine.request import Request
from fledge.errors import UserError
from fledge.hub.folder import load_model, save_model
from fledge.hub.gguf_model import save_gguf
from fledge.log_prob import Decoding
from fledge.recipes.language.align import AlignConfig, align
from fledge.runs.show import Show
from fledge.sample import served
from fledge.sample.served import Reload, Served
from fledge.text.tokenizer import train_tokenizer
from tests.subjects import transformer

ROOT = Path(__file__).parents[2]
TASK = """
def prompts():
    return [f"say {n}" for n in range(60)]

def score(prompt, completion):
    return sum(letter < "q" for letter in completion) / 12
"""
RELOAD = """
[ -f pid ] && kill -9 $(cat pid)
cd {root} && nohup {python} -m tests.sample.llama_process $WEIGHTS {port} >> {log} 2>&1 &
echo $! > pid
echo read >> reads
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that says letters for the most part: their probabilities come one by one."""
    folder = tmp_path_factory.mktemp("served") / "base"
    tokenizer = train_tokenizer("bytes", [])
    network = transformer(vocab_size=tokenizer.vocab_size, context=64, width=32)
    letters = tokenizer.encode("abcdefghijklmnopqrstuvwxyz")
    with torch.no_grad():
        rows = network.unembedding
        said = 2 * rows[letters]
        rows *= 0.03
        rows[letters] = said
    save_model(folder, network, tokenizer)
    return folder


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


@pytest.fixture
def llama(base: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A server of the base, as (URL, reload command)."""
    pytest.importorskip("xllamacpp")
    port, script = free_port(), tmp_path / "reload.sh"
    script.write_text(
        RELOAD.format(root=ROOT, python=sys.executable, port=port, log=tmp_path / "llama.log")
    )
    command = f"cd {tmp_path} && sh {script}"
    model = load_model(base)
    save_gguf(tmp_path / "base.gguf", model.network, model.tokenizer)
    environment = {
        **os.environ, "WEIGHTS": str(tmp_path / "base.gguf"), "PYTHONPATH": ":".join(sys.path),
    }  # fmt: skip
    subprocess.run(command, shell=True, check=True, env=environment)
    path = f"export PYTHONPATH={shlex.quote(environment['PYTHONPATH'])}"
    yield f"http://127.0.0.1:{port}/v1", f"{path}; {command}"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def silent() -> Show:
    return Show(Console(file=io.StringIO()))


def wait_ready(url: str) -> OutsideEngine:
    end = threading.Event()
    for _ in range(600):
        try:
            return OutsideEngine(url, vocab_size=262, context=64, logprobs="processed")
        except UserError:
            end.wait(0.1)
    raise AssertionError("the server did not begin")


def test_a_policy_learns_from_a_server_that_reads_its_weights_as_they_change(
    base: Path, llama: tuple[str, str], tmp_path: Path
) -> None:
    url, reload = llama
    outside, model = wait_ready(url), load_model(base)
    # What is sampled there under a rule is what is sampled here.
    policy = model.policy().with_rule(Decoding(temperature=0.8, top_k=40, top_p=0.95))
    follower = Served(outside, policy, model, None, 0.02, pytest.fail)
    requests = [Request([1, 70 + n], 12, rule=policy.rule, stop=frozenset({2})) for n in range(6)]
    answers = follower.run(requests)
    for answer in answers:
        assert policy.allowed is not None
        assert policy.allowed[answer.tokens].all()
        told, own = torch.tensor(answer.logp), torch.tensor(follower._score([answer])[0])
        torch.testing.assert_close(told, own, atol=0.02, rtol=0)
    assert follower.take_figures()["unscored"] < 1
    greedy = [Request([1, 70 + n], 8, rule=Decoding(temperature=0)) for n in range(3)]
    ours = Engine(model.policy(), slots=2, positions=64).run(greedy)
    assert [each.tokens for each in outside.run(greedy)] == [each.tokens for each in ours]

    (tmp_path / "vowels.py").write_text(TASK)
    out = tmp_path / "run"
    given = {
        "base": base, "task": str(tmp_path / "vowels.py"), "judge_process": "trainer", "out": out,
        "algorithm": "grpo", "truncate_at": 2.0, "server": url, "reload": reload, "staleness": 1,
        "served_weights": "gguf", "cut_reward": 1.0, "steps": 4, "prompts_per_step": 4,
        "samples_per_prompt": 4, "max_new_tokens": 12, "learning_rate": 0.02, "warmup_steps": 0,
        "evaluation_prompts": 2, "precision": "fp32", "compile": "no", "device": "cpu",
    }  # fmt: skip
    align(AlignConfig.read(given), silent())
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "staleness" in row]
    assert [row["staleness"] for row in rows] == [0, 1, 0, 1]
    assert [row["reload_seconds"] > 0 for row in rows] == [True, False, True, False]
    assert (tmp_path / "reads").read_text().count("read") == 3
    fresh, behind = rows[::2], rows[1::2]
    assert max(row["drift"] for row in fresh) < 0.02 < min(row["drift"] for row in behind)
    # The server's last weights are those before the third step, and the run's are after the fourth.
    written = load_model(out / "served" / "model.gguf").network.state_dict()
    moved = [
        float((written[name] - weight).abs().max())
        for name, weight in load_model(base).network.state_dict().items()
    ]
    assert 0.02 < max(moved) < 0.06
    idle = Reload("true", "gguf", tmp_path / "served.gguf", tmp_path / "log", 0)
    unread = Served(outside, policy, model, idle, 0.02, pytest.fail)
    with pytest.raises(UserError, match=r"nats a token away from .*it has not read these weights"):
        unread.run(requests)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    with pytest.raises(UserError, match=f"no server answers at {url}"):
        align(AlignConfig.read(given | {"out": tmp_path / "again"}), silent())


def reply(**changes: Any) -> dict[str, Any]:
    """As llama.cpp answers a prompt of two tokens with three."""
    told = [{"id": token, "logprob": -0.5} for token in (7, 8, 9)]
    return {
        "tokens": [7, 8, 9], "completion_probabilities": told, "tokens_evaluated": 2,
        "stop_type": "limit", "generation_settings": {"n_predict": 3},
    } | changes  # fmt: skip


@pytest.fixture
def scripted() -> Iterator[tuple[str, Callable[[Any], None]]]:
    """A server that gives the answer it is told to give."""
    answer: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            models = {"data": [{"id": "tiny", "owned_by": "llamacpp"}]}
            self.say(json.dumps(models).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.say(answer[-1])

        def say(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield (
        f"http://127.0.0.1:{server.server_port}",
        lambda said: answer.append(said if isinstance(said, bytes) else json.dumps(said).encode()),
    )
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (b"<html>", "the server's reply is no JSON"),
        (reply(tokens=None), "lacks token ids or their probabilities"),
        (reply(completion_probabilities=None), "lacks token ids or their probabilities"),
        (reply(tokens_evaluated=3), "read 3 tokens of a prompt of 2"),
        (reply(tokens=[7, 8]), "ended a row after 2 of 3 tokens"),
        (reply(tokens=[7, 8, 99]), "token 99, outside the vocabulary of 11"),
        (reply(stop_type="eos"), "ended the row for a reason of its own"),
    ],
)
def test_an_answer_that_is_none_is_said_of_its_request(
    told: Any, error: str, scripted: tuple[str, Callable[[Any], None]]
) -> None:
    url, tell = scripted
    tell(told)
    (answer,) = OutsideEngine(url, vocab_size=11, context=32).run([Request([1, 2], 3)])
    assert error in (answer.error or "")
    tell(reply())
    heard: list[int] = []
    (whole,) = OutsideEngine(url, vocab_size=11, context=32).run(
        [Request([1, 2], 3, stop=frozenset({8}))], lambda _, token: heard.append(token)
    )
    assert (whole.tokens, whole.logp, whole.ended, heard) == ([7, 8], [-0.5, -0.5], "stop", [7, 8])


def test_a_token_without_a_probability_gets_the_policy_s_own_and_a_failing_reload_is_said(
    base: Path, scripted: tuple[str, Callable[[Any], None]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    url, tell = scripted
    model = load_model(base)
    policy, said = model.policy(), list[str]()
    outside = OutsideEngine(url, vocab_size=262, context=64)
    tell(reply(completion_probabilities=[{"id": 9, "logprob": -0.5}]))
    follower = Served(outside, policy, model, None, 0.1, said.append)
    (answer,) = follower.run([Request([1, 70], 3)])
    assert not any(map(math.isnan, answer.logp))
    row = torch.tensor([[1, 70, 7, 8, 9]])
    own = policy.log_prob(row, row[:, 1:])[0, 1:]
    torch.testing.assert_close(torch.tensor(answer.logp), own.detach())
    assert follower.take_figures() == {"staleness": 0, "reload_seconds": 0, "unscored": 1}
    assert said == [
        f"{url} gives no log-probabilities for its first answers: whether it has the run's weights "
        "cannot be told"
    ]
    monkeypatch.setattr(served, "PAUSES_S", (0.01,))
    failing = Reload("echo no such server; exit 7", "hf", tmp_path / "w", tmp_path / "log", 0)
    with pytest.raises(UserError, match=r"ended with code 7: no such server .*all that it said"):
        Served(outside, policy, model, failing, 0.1, said.append).run([Request([1, 70], 3)])
    assert said[1:] == [
        "reload: `echo no such server; exit 7` ended with code 7: no such server; it is tried again"
    ]
    assert load_model(tmp_path / "w").config == model.config


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"reload": "true"}, "reload was given without a server"),
        ({"server": "http://x"}, "needs reload=COMMAND"),
        ({"server": "http://x", "reload": "true", "generation": "bf16"}, "its own precision"),
        ({"server": "http://x", "reload": "true", "staleness": 2}, "give truncate_at=2"),
        ({"server": "http://x", "reload": "true", "algorithm": "off_policy"}, "weights stay"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(
    changes: dict[str, Any], error: str, base: Path, tmp_path: Path
) -> None:
    given = {"base": base, "task": "reverse", "out": tmp_path / "run", "max_new_tokens": 8}
    with pytest.raises(UserError, match=error):
        align(AlignConfig.read(given | changes), silent())
