"""Virtual tokens: they are to every document what tokens before it are to a row, whatever the
family, the window and the cut into rows.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.engine.beam import beam_search
from fledge.engine.engine import Engine
from fledge.engine.forms import make_form
from fledge.engine.prompted_form import PromptedForm
from fledge.engine.request import Request
from fledge.engine.slow_form import SlowForm
from fledge.engine.speculative import Speculator
from fledge.errors import UserError
from fledge.log_prob import Decoding
from fledge.models.language.rope_scaling import RopeScaling
from fledge.models.language.virtual_tokens import Prefix, Prompt, put_before, start_from
from fledge.sample.generate import generate
from tests.subjects import policy_of, seeded, transformer

N = 5
KINDS: list[Any] = ["prefix", "prompt"]
# What is asked of positions in different ways.
NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "window": {"window": 4},
    "alternating windows": {"windows": (3, 0), "local_rope_theta": 50.0},
    "learned positions": {"learned_positions": True, "norm": "layer", "gated": False,
                          "kv_heads": 4},
    "norms of keys": {"qk_norm": True},
    "capped, scaled embedding": {"score_cap": 2.0, "embedding_scale": 4.0},
    "a part of a head": {"rotary_width": 2},
    "a layer without positions": {"unturned": (1,)},
    "parallel": {"residual": "parallel"},
}  # fmt: skip
networks = pytest.mark.parametrize("sizes", NETWORKS.values(), ids=list(NETWORKS))
kinds = pytest.mark.parametrize("kind", KINDS)


def started(kind: Any, sizes: dict[str, Any], border: int | None = None) -> Any:
    """A network whose virtual tokens are BEFORE."""
    network = transformer(border=border, dtype=torch.float64, **sizes)
    put_before(network, start_from(kind, network, BEFORE))
    return network


BEFORE = torch.tensor([4, 9, 7, 4, 8])


def rows(length: int = 12) -> Tensor:
    return torch.randint(3, 11, (3, length), generator=seeded(length))


@networks
@kinds
def test_at_the_start_they_are_tokens_before_the_row(kind: Any, sizes: dict[str, Any]) -> None:
    plain = transformer(dtype=torch.float64, **sizes)
    whole = torch.cat([BEFORE.expand(3, -1), rows()], 1)
    with torch.no_grad():
        wanted = plain(whole)[:, N:]
        torch.testing.assert_close(started(kind, sizes)(rows()), wanted, atol=1e-10, rtol=1e-9)


@networks
@kinds
def test_they_stand_before_every_document_of_a_row(kind: Any, sizes: dict[str, Any]) -> None:
    """Two documents in one row are what each is alone."""
    network = started(kind, sizes, border=1)
    first, second = rows(6), rows(7)
    first[:, 0] = second[:, 0] = 1
    packed = torch.cat([first, second], 1)
    with torch.no_grad():
        said = network(packed, network.document_mask(packed))
        apart = torch.cat([network(first, None), network(second, None)], 1)
    torch.testing.assert_close(said, apart, atol=1e-10, rtol=1e-9)


@networks
@kinds
def test_the_fast_form_says_what_the_network_says(kind: Any, sizes: dict[str, Any]) -> None:
    network = started(kind, sizes)
    policy = policy_of(network)
    assert isinstance(make_form(network), PromptedForm)
    prompts = [[4, 6], [4, 7, 8, 5], [5] * 9]
    engine = Engine(policy, slots=2, prefix_cache_rows=2)
    for _ in range(2):  # the second time from what is kept of the first
        said = generate(policy, prompts, max_new_tokens=9, stop=-1, generator=seeded(2),
                        samples=2, engine=engine)  # fmt: skip
        for i, completion in enumerate(said):
            prompt = prompts[i // 2]
            row = torch.tensor([[*prompt, *completion.tokens]])
            logp = policy.log_prob(row, row[:, 1:])[0, len(prompt) - 1 :]
            torch.testing.assert_close(
                torch.tensor(completion.logp, dtype=torch.float64), logp, atol=1e-6, rtol=1e-5
            )


@kinds
def test_an_engine_follows_them_while_they_learn(kind: Any) -> None:
    """A row under way when they change goes on by the new ones."""
    policy = policy_of(started(kind, {}))
    engine, heard = Engine(policy, slots=2), list[int]()
    greedy = Decoding(temperature=0)
    engine.submit(Request([4, 9, 7], 9, rule=greedy), lambda _, token: heard.append(token))
    for _ in range(4):
        engine.advance()
    so_far, left = list(heard), 9 - len(heard)
    row = torch.tensor([[4, 9, 7, *so_far]])
    before = policy.logits(policy.network(row)[:, -1]).log_softmax(-1)[0]
    with torch.no_grad():
        policy.network.virtual.embedding.normal_(0.0, 2.0, generator=seeded(7))
    policy.raise_version()
    ended = []
    while engine.busy:
        ended += engine.advance()
    # The token that had been said last is read by the new ones, too.
    (fresh,) = Engine(policy, slots=1).run([Request([4, 9, 7, *so_far], left, rule=greedy)])
    ((_, completion),) = ended
    assert completion.tokens == heard == so_far + fresh.tokens
    assert completion.raw_logp[-left:] == pytest.approx(fresh.raw_logp, abs=1e-6)
    assert abs(float(before[fresh.tokens[0]]) - fresh.raw_logp[0]) > 1e-3


@kinds
def test_beams_and_guesses_say_what_they_say_without_a_cache(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the network's own forward pass in place of the fast form, whose cache is in blocks of 32
    positions.
    """
    monkeypatch.setattr("fledge.engine.generation.SMALL_LAYER", 0)
    network = transformer(dtype=torch.float64, context=96)
    put_before(network, start_from(kind, network, BEFORE.repeat(8)))
    policy = policy_of(network)
    asked = [Request([4, 6, 7], 7), Request([5, 8], 7)]
    fast = beam_search(policy, asked, width=3, n_best=3)
    guessed = Speculator(policy, slots=2).run(asked)
    for module in ("beam", "speculative"):
        slow = lambda network, *_: SlowForm(network)  # noqa: E731
        monkeypatch.setattr(f"fledge.engine.{module}.make_form", slow)
    for ours, theirs in zip(fast, beam_search(policy, asked, width=3, n_best=3), strict=True):
        assert [one.tokens for one in ours] == [one.tokens for one in theirs]
        assert [one.score for one in ours] == pytest.approx([one.score for one in theirs], abs=1e-6)
    again = Speculator(policy, slots=2).run(asked)
    assert [one.tokens for one in guessed] == [one.tokens for one in again]


@kinds
def test_a_table_of_angles_reaches_the_last_token(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = started(kind, {})
    monkeypatch.setattr("fledge.models.language.positions._TABLE", 8)
    grows = started(kind, {})
    with torch.no_grad():
        for length in (5, 20):  # in the first table without the virtual tokens, and beyond it
            said, wanted = grows(rows(length)), whole(rows(length))
            torch.testing.assert_close(said, wanted, atol=1e-12, rtol=0)
    policy, again = policy_of(whole), policy_of(started(kind, {}))
    for prompt in ([5, 6] * 11, [4] * 3):
        one, other = (
            generate(each, [prompt], max_new_tokens=5, stop=-1, generator=seeded(1))
            for each in (policy, again)
        )
        assert one[0].tokens == other[0].tokens


@kinds
def test_the_context_has_so_many_tokens_fewer(kind: Any) -> None:
    network = started(kind, {"learned_positions": True, "norm": "layer", "context": 16})
    assert network.config.context == 16 - N
    assert network(rows(11)).shape[1] == 11
    with pytest.raises(UserError, match="context 11"):
        network(rows(12))
    policy = policy_of(network)
    (said,) = generate(policy, [[4, 6]], max_new_tokens=99, stop=-1, generator=seeded(0))
    assert len(said.tokens) == 9
    for precision in ("bf16", "int8"):
        engine = Engine(policy, slots=1, precision=precision)
        assert engine.cache_bytes == (store := engine.batch.cache.store).numel() * store.itemsize


@kinds
def test_rows_that_outgrow_long_rope(kind: Any) -> None:
    """A token is read as the last of its row, virtual tokens counted."""
    scaling = RopeScaling(
        kind="longrope", original=9, short_factors=(1.0, 1.5), long_factors=(2.0, 5.0)
    )
    network = transformer(dtype=torch.float64, scaling=scaling)
    if kind == "prompt":
        virtual: Any = Prompt(network.embed_tokens(BEFORE))
    else:
        virtual = start_from("prefix", network, BEFORE)
    plain = transformer(dtype=torch.float64, scaling=scaling)
    put_before(network, virtual)
    whole = torch.cat([BEFORE.expand(3, -1), rows()], 1)
    with torch.no_grad():
        wanted, said = plain(whole)[:, N:], network(rows())
    short = 9 - N
    torch.testing.assert_close(said[:, :short], wanted[:, :short], atol=1e-10, rtol=1e-9)
    if kind == "prompt":  # a prefix's keys are turned already, by the angles of short rows
        torch.testing.assert_close(said, wanted, atol=1e-10, rtol=1e-9)
    assert isinstance(make_form(network, positions=9), SlowForm)
    assert isinstance(make_form(network, positions=4), PromptedForm)


@pytest.mark.parametrize(("kind", "wide"), [("prefix", 2 * 2 * 2 * 4), ("prompt", 16)])
def test_the_number_that_learns_is_the_formula_s(kind: Any, wide: int) -> None:
    """prefix: N · layers · 2 · kv_heads · d; prompt: N · D."""
    virtual = start_from(kind, transformer(), BEFORE)
    assert isinstance(virtual, Prefix if kind == "prefix" else Prompt)
    assert sum(p.numel() for p in virtual.parameters()) == N * wide
