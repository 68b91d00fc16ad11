"""A long prompt is read in pieces, between which others go on; what is said after it is what a
plain forward pass says, and memory does not grow with its square.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from fledge.engine import prefill
from fledge.engine.beam import beam_search
from fledge.engine.engine import Engine
from fledge.engine.generation import GenerationTransformer
from fledge.engine.request import Completion, Request
from fledge.engine.speculative import Speculator
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from tests.engine.strangers import plain
from tests.subjects import transformer

GREEDY = Decoding(temperature=0)
PIECE, CONTEXT = 24, 300
KINDS: list[dict[str, Any]] = [
    {"kv_heads": 2},
    {"kv_heads": 1, "qk_norm": True},
    {"window": 10},
    {"windows": (0, 40), "score_cap": 2.0},
]


@pytest.fixture(autouse=True)
def _pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefill, "PIECE", PIECE)


def subject(**kind: Any) -> TokenPolicy:
    return TokenPolicy(transformer(dtype=torch.float64, context=CONTEXT, **kind))


def tokens(n: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, 11, n).tolist()


def as_plain(policy: TokenPolicy, requests: list[Request], rows: list[Completion]) -> None:
    for request, row in zip(requests, rows, strict=True):
        assert row.error is None
        assert len(row.tokens) == request.max_new_tokens
        raw = plain(policy, policy.network, row.prompt, row.tokens)[:-1]
        if request.rule.greedy:
            assert row.tokens == raw.argmax(-1).tolist()
        expected = raw.gather(1, torch.tensor(row.tokens)[:, None])[:, 0]
        assert row.raw_logp == pytest.approx(expected.tolist(), abs=1e-9)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What the network is asked for: ("read", tokens) or ("decode", rows)."""
    heard: list[tuple[str, int]] = []
    for name, method in (("read", "extend"), ("decode", "step")):
        own = getattr(GenerationTransformer, method)

        def count(self: Any, some: Any, *rest: Any, own: Any = own, name: str = name) -> Any:
            heard.append((name, some.numel()))
            return own(self, some, *rest)

        monkeypatch.setattr(GenerationTransformer, method, count)
    return heard


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("slots", [1, 3, 20])
def test_rows_after_long_and_short_prompts_are_as_read_alone(
    kind: dict[str, Any], slots: int
) -> None:
    """Lengths around one and two pieces, some that begin as others do, in two turns."""
    policy, rng = subject(**kind), np.random.default_rng(slots)
    engine = Engine(policy, slots=slots, prefix_cache_rows=2)
    lengths = (1, 23, 24, 25, 47, 48, 49, 100, 200, 200, 230)
    prompts = [tokens(n, i % 3) for i, n in enumerate(lengths)]
    for _ in range(2):
        requests = [
            Request(p, int(rng.integers(1, 12)), rule=[GREEDY, Decoding()][i % 2], sample=i)
            for i, p in enumerate(prompts)
        ]
        rows = engine.run(requests)
        as_plain(policy, requests, rows)
        prompts = [row.prompt + row.tokens + tokens(30, 7) for row in rows]


def test_others_say_a_token_between_two_pieces(passes: list[tuple[str, int]]) -> None:
    policy = subject()
    engine = Engine(policy, slots=3)
    short = Request(tokens(5, 0), 40, rule=GREEDY)
    engine.submit(short)
    engine.advance()
    passes.clear()
    long = Request(tokens(10 * PIECE, 1), 4, rule=GREEDY)
    engine.submit(long)
    rows: dict[int, Completion] = {}
    while engine.busy:
        rows.update(engine.advance())
    as_plain(policy, [short, long], [rows[0], rows[1]])
    read = [i for i, (what, _) in enumerate(passes) if what == "read"]
    assert [passes[i][1] for i in read] == [PIECE] * 10
    assert [passes[i + 1] for i in read] == [("decode", 1)] * 9 + [("decode", 2)]
    assert engine.batch.tokens_read == 5 + 10 * PIECE


def test_short_prompts_pass_a_long_one_and_a_second_long_one_waits() -> None:
    policy = subject()
    engine = Engine(policy, slots=2)
    lengths = (200, 220, 5, 6)
    requests = [Request(tokens(n, n), 3, rule=GREEDY) for n in lengths]
    for request in requests:
        engine.submit(request)
    rows: dict[int, Completion] = {}
    order: list[int] = []
    while engine.busy:
        ended = engine.advance()
        order += [number for number, _ in ended]
        rows.update(ended)
    assert sorted(order[:2]) == [2, 3]
    assert order[2:] == [0, 1]
    as_plain(policy, requests, [rows[i] for i in range(4)])


def test_samples_of_one_long_prompt_read_it_once(passes: list[tuple[str, int]]) -> None:
    policy = subject()
    requests = [Request(tokens(130, 0), 3, sample=i) for i in range(9)]
    as_plain(policy, requests, Engine(policy, slots=4).run(requests))
    assert sum(n for what, n in passes if what == "read") < 130 + 3 * PIECE


def test_a_long_prompt_that_was_read_is_not_read_again(passes: list[tuple[str, int]]) -> None:
    policy = subject()
    engine = Engine(policy, slots=1, prefix_cache_rows=1)
    [row] = engine.run([Request(tokens(200, 0), 5, rule=GREEDY)])
    passes.clear()
    again = Request(row.prompt + row.tokens + tokens(4, 1), 5, rule=GREEDY)
    as_plain(policy, [again], engine.run([again]))
    # what is new, and the last token said, which nobody had read
    assert [n for what, n in passes if what == "read"] == [5]
    assert engine.batch.tokens_read == 200 + 5


@pytest.mark.parametrize("when", range(1, 9))
def test_new_weights_in_the_middle_of_a_prompt_read_all_of_it(when: int) -> None:
    policy = subject()
    engine = Engine(policy, slots=2)
    requests = [Request(tokens(5, 0), 12, rule=GREEDY), Request(tokens(130, 1), 6, rule=GREEDY)]
    rows: dict[int, Completion] = {}
    for request in requests:
        engine.submit(request)
    for _ in range(when):
        rows.update(engine.advance())
    with torch.no_grad():
        for weight in policy.network.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    engine.renew()
    while engine.busy:
        rows.update(engine.advance())
    if when < 6:  # the long prompt's row had said nothing before
        as_plain(policy, requests[1:], [rows[1]])
    whole = plain(policy, policy.network, rows[1].prompt, rows[1].tokens)
    assert rows[1].tokens[-1] == int(whole[-2].argmax())


@pytest.mark.parametrize("when", range(1, 9))
def test_a_long_prompt_that_is_cancelled_leaves_nothing_behind(when: int) -> None:
    policy = subject()
    engine = Engine(policy, slots=2)
    number = engine.submit(Request(tokens(130, 1), 6))
    rows: dict[int, Completion] = {}
    for _ in range(when):
        rows.update(engine.advance())
    engine.cancel(number)
    while engine.busy:
        rows.update(engine.advance())
    assert rows[number].ended == "cancelled"
    requests = [Request(tokens(140, 2), 6, rule=GREEDY), Request(tokens(9, 2), 6, rule=GREEDY)]
    as_plain(policy, requests, engine.run(requests))


def test_beams_and_guesses_go_on_from_long_prompts() -> None:
    policy = subject()
    requests = [Request(tokens(n, n), 6, rule=GREEDY) for n in (200, 7, 130, 30)]
    as_plain(policy, requests, Speculator(policy, ahead=3).run(requests))
    unruled = [Request(request.prompt, 6) for request in requests]
    best = beam_search(policy, unruled, width=1, length_penalty=0.0)
    as_plain(policy, requests, [hypotheses[0] for hypotheses in best])


CHILD = """
import sys
import torch
from fledge.engine.engine import Engine
from fledge.engine.request import Request
from fledge.engine.speculative import Speculator
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.policy import TokenPolicy

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024

way, length = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(1)
config = TransformerConfig(
    vocab_size=49_152, context=length + 8, layers=2, width=32, heads=4, kv_heads=1, mlp_width=64,
    windows=(0, 512),
)
policy = TokenPolicy(Transformer(config))
prompt = torch.arange(length).remainder(49_000).tolist()
if way == "guesses":
    run = Speculator(policy).run
else:
    run = Engine(policy, slots=1).run
run([Request([5, 6, 7], 2)])  # what any prompt takes
before = peak()
[row] = run([Request(prompt, 4)])
assert row.error is None
said = row.logp
print(peak() - before)
row = row.prompt + row.tokens
tokens = torch.tensor([row])
with torch.no_grad():
    scored = policy.log_prob(tokens, tokens[:, 1:])[0, length - 1 :]
print(float((scored - torch.tensor(said)).abs().max()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a child's peak is read where Linux says it")
@pytest.mark.parametrize(
    ("way", "length"),
    [
        ("engine", 8_192),
        ("guesses", 8_192),
        pytest.param("engine", 32_768, marks=pytest.mark.slow),
    ],
)
def test_a_prompt_of_thousands_of_tokens_takes_little_memory(way: str, length: int) -> None:
    """Of 8,192 the scores of a layer would be 1 GB whole, logits of all positions 1.6 GB, a mask
    268 MB; of 32,768 the scores 17 GB, logits 6.4 GB, a mask 4.3 GB. What is said behind it is what
    the trainer computes.
    """
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, way, str(length)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    peak, apart = ran.stdout.split()
    assert int(peak) < 200e6
    assert float(apart) < 1e-3
