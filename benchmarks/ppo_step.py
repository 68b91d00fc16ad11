"""Where the seconds of a PPO step go on the demo's model: generate, score, fit, and everything
else, which ought to be below 5%.

2 layers, width 128, 4 heads, bytes; 64 prompts × 8 samples of the task `reverse`. The model is
tuned for a moment first, so that its answers stop where real ones do; then `fledge align` runs, and
its own timings.jsonl is read. There is no peer here.
"""

from __future__ import annotations

import io
import json
import statistics
import tempfile
from pathlib import Path

import torch
from rich.console import Console

from fledge.hub.folder import save_model
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.recipes.language.align import AlignConfig, align
from fledge.recipes.language.tune import TuneConfig, tune
from fledge.runs.show import Show
from fledge.text.tokenizer import train_tokenizer
from side_by_side import finish, options, say, table

PHASES = ("generate", "score", "fit", "other")


def main() -> None:
    given = options(__doc__)
    warm, steps, tuning = (1, 3, 20) if given.quick else (3, 12, 200)
    show = Show(Console(file=io.StringIO()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = train_tokenizer("bytes", [], None)
        sizes = TransformerConfig(
            vocab_size=tokenizer.vocab_size, context=64, layers=2, width=128, heads=4, kv_heads=4
        )
        fresh = Transformer(
            sizes, border=tokenizer.begin, generator=torch.Generator().manual_seed(0)
        )
        save_model(folder / "fresh", fresh, tokenizer)
        say("tuning …")
        tune(
            TuneConfig(
                base=folder / "fresh",
                task="reverse",
                steps=tuning,
                evaluation_prompts=64,
                out=folder / "tuned",
            ),
            show,
        )
        say("aligning …")
        align(
            AlignConfig(
                base=folder / "tuned",
                task="reverse",
                algorithm="ppo",
                prompts_per_step=64,
                samples_per_prompt=8,
                max_new_tokens=16,
                steps=warm + steps,
                evaluation_prompts=64,
                out=folder / "aligned",
            ),
            show,
        )
        lines = (folder / "aligned" / "timings.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines][warm:]
    median = {phase: statistics.median(row[phase] for row in rows) for phase in (*PHASES, "total")}
    share = {
        phase: statistics.median(row[phase] / row["total"] for row in rows) for phase in PHASES
    }
    text = table(
        ("phase", "ms", "share"),
        [(phase, f"{1000 * median[phase]:.1f}", f"{share[phase]:.1%}") for phase in PHASES],
    )
    figures = {"seconds": median, "share": share, "steps": steps}
    finish(given.json, text, {"other / step": share["other"]}, figures, {"other / step": "≤ 0.05"})


if __name__ == "__main__":
    main()
