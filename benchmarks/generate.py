"""Generation: 32 rows × 128 new tokens after prompts of 32, temperature 1, against transformers.generate on the same weights.

The model of benchmarks/pretrain.py, written by `save_model` and read back by `from_pretrained`, in float32 and in bfloat16. No row
may stop early on either side, so that all make the same number of tokens.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fledge.models.folder import save_model
from fledge.models.transformer import Transformer
from fledge.policy import TokenPolicy
from fledge.sample.generate import generate
from fledge.text.tokenizer import train_tokenizer
from pretrain import CONTEXT, SIZES, SPECIAL, VOCABULARY
from side_by_side import alternate, finish, options, rate_table, rates, speed_up

ROWS, PROMPT, NEW = 32, 32, 128


def main() -> None:
    from transformers import LlamaForCausalLM

    given = options(__doc__)
    rounds, new = (1, 16) if given.quick else (11, NEW)
    assert PROMPT + new <= CONTEXT
    network = Transformer(SIZES, generator=torch.Generator().manual_seed(0))
    prompts = torch.randint(SPECIAL, VOCABULARY, (ROWS, PROMPT), generator=torch.Generator().manual_seed(1))
    # the stop token is no action here: full length for all
    policy = TokenPolicy(network, torch.arange(VOCABULARY) >= SPECIAL)
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "model", network, train_tokenizer("bytes", [], None))
        theirs = {
            f"transformers {name}": LlamaForCausalLM.from_pretrained(Path(folder) / "model", dtype=dtype).eval()
            for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
        }

    def our_tokens() -> None:
        rows = generate(
            policy, prompts.tolist(), max_new_tokens=new, stop=2, generator=torch.Generator().manual_seed(2)
        )
        assert all(len(row.tokens) == new for row in rows)

    def their_tokens(model: Any) -> Callable[[], None]:
        def work() -> None:
            with torch.inference_mode():
                rows = model.generate(
                    prompts,
                    attention_mask=torch.ones_like(prompts),
                    do_sample=True,
                    temperature=1.0,
                    top_k=0,
                    top_p=1.0,
                    max_new_tokens=new,
                    eos_token_id=None,
                    pad_token_id=0,
                )
            assert rows.shape == (ROWS, PROMPT + new)

        return work

    sides = {"ours": our_tokens} | {name: their_tokens(model) for name, model in theirs.items()}
    times = alternate(sides, rounds)
    speed = rates(times, ROWS * new)
    best = max(theirs, key=lambda name: speed[name]["median"])
    ratios = {f"ours / {name}": speed_up(times, "ours", name) for name in theirs}
    ratios = {"ours / the better of transformers": speed_up(times, "ours", best)} | ratios
    targets = {"ours / transformers fp32": "≥ 1.7"}  # at the same precision: ours is float32
    finish(
        given.json, rate_table(speed, "new tokens/s"), ratios, {"tokens_per_second": speed, "best_peer": best}, targets
    )


if __name__ == "__main__":
    main()
