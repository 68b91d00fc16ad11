"""Tiny models that have learned to say one thing, as runs with a lineage: what the page's tests
talk to, so that what an answer holds is theirs to choose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fledge.hub.folder import Loaded
from fledge.models.language.heads import ScalarModel
from fledge.models.language.presets import transformer_config
from fledge.models.language.transformer import Transformer
from fledge.runs.folder import Run
from fledge.text.chat import render
from fledge.text.tokenizer import Tokenizer, train_tokenizer
from fledge.trajectories import from_rows

ASKED = ("hello", "what is this?", "and now?", "say it", "x")


def make_parrot(
    tokenizer: Tokenizer, text: str, *, steps: int = 80, seed: int = 0, context: int = 512
) -> Loaded:
    """A model that answers anything with `text`, as far as so few steps teach it."""
    generator = torch.Generator().manual_seed(seed)
    config = transformer_config("nano", tokenizer.vocab_size, context=context, layers=2)
    network = Transformer(config, border=tokenizer.border, generator=generator)
    rows = [
        render(
            tokenizer,
            [{"role": "user", "content": asked}, {"role": "assistant", "content": text}],
        )
        for asked in (*ASKED, text)
    ]
    batch = from_rows([ids for ids, _ in rows], [own for _, own in rows])
    loaded = Loaded(network, tokenizer, Path(), {})
    policy = loaded.policy()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        logp = policy.log_prob(batch.obs, batch.action, batch.chosen)
        (-logp.sum() / batch.chosen.sum()).backward()
        optimizer.step()
    network.eval()
    return loaded


def save_run(
    folder: Path, verb: str, loaded: Loaded, *, parents: tuple[Path, ...] = (), **figure: Any
) -> Path:
    """A finished run with this model, and 30 rows of metrics in which every figure falls to its
    value.
    """
    with Run.create(folder, verb, {}, seed=0, parents=parents, command="fledge") as run:
        loaded.save(run.model_folder)
        log_figures(run, range(30), **figure)
        run.finish({"steps": 30})
    return folder


def log_figures(run: Run, steps: range, **figure: Any) -> None:
    for step in steps:
        row = {name: value * (1 + 1 / (1 + step)) for name, value in figure.items()}
        run.metrics.write({"step": step, **row})


def make_tokenizer(*texts: str) -> Tokenizer:
    return train_tokenizer("bpe", [" ".join(texts + ASKED) * 8], 340)


def save_judge(folder: Path, tokenizer: Tokenizer) -> Path:
    """A reward model that has learned nothing."""
    config = transformer_config("nano", tokenizer.vocab_size, context=512, layers=1)
    network = Transformer(config, border=tokenizer.border)
    with Run.create(folder, "reward", {}, seed=0, command="fledge") as run:
        scalar = ScalarModel(network)
        torch.nn.init.normal_(scalar.head.linear.weight)
        loaded = Loaded(network, tokenizer, Path(), {})
        loaded.save(run.model_folder, scalar, fledge_reward={"mean": 0.5, "std": 2.0})
        run.finish({"steps": 1})
    return folder
