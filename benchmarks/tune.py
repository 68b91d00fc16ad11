"""Instruction tuning on rows of very different length: ours against TRL's SFTTrainer, in real (not
padding) tokens per second.

4 layers, width 256, 4 heads, vocabulary 4,096; 16 rows a step. Lengths are log-normal from a fixed
seed, so that batches formed at random are 64% padding; six tokens of ten are the answer and
trained. With the instruction data of FLEDGE_DATA (else ../shared/data) present, the same again on
the lengths of real rows. TRL runs as it comes, but without gradient checkpointing, which would slow
it; its grouping by length is a side of its own. Ours runs the parts of `fledge tune`, at several
`window` and `rows_per_micro_batch`.
"""

from __future__ import annotations

import gzip
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fledge.algorithms.likelihood.supervised import Supervised
from fledge.hub.folder import save_model
from fledge.learner import Learner, Schedule
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.optimizers import adamw
from fledge.policy import TokenPolicy
from fledge.sample.conversations import ConversationRows, Shuffled
from fledge.stopwatch import Stopwatch
from fledge.text.conversations import rows_from_jsonl
from fledge.text.packed import TokenRow
from fledge.text.tokenizer import train_tokenizer
from side_by_side import Times, alternate, finish, options, rate_table, say

SPECIAL, VOCABULARY, CONTEXT, ROWS = 6, 4096, 512, 16
SIZES = TransformerConfig(
    vocab_size=VOCABULARY, context=CONTEXT, layers=4, width=256, heads=4, kv_heads=4
)
# (window, rows_per_micro_batch); None: all rows of a step together
PRECISION = "bf16"  # on both sides
OURS = ((8, None), (8, 4), (1, None), (1, 4))
REAL = "instruct/alpaca-en-demo.jsonl.gz"


def made_up_rows(number: int) -> list[TokenRow]:
    random = np.random.default_rng(0)
    lengths = np.clip(
        random.lognormal(mean=np.log(60), sigma=0.67, size=number), 8, CONTEXT
    ).astype(int)
    return [row_of(int(length), random) for length in lengths]


def row_of(length: int, random: np.random.Generator) -> TokenRow:
    return random.integers(SPECIAL, VOCABULARY, length).tolist(), [
        i >= length * 4 // 10 for i in range(length)
    ]


def real_rows(number: int) -> list[TokenRow] | None:
    """Rows of made-up tokens with the lengths of real conversations, at four characters a token."""
    folder = Path(
        os.environ.get("FLEDGE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    )
    if not (folder / REAL).exists():
        return None
    with (
        tempfile.TemporaryDirectory() as name,
        gzip.open(folder / REAL, "rt", encoding="utf-8") as file,
    ):
        plain = Path(name) / "rows.jsonl"
        plain.write_text(file.read(), encoding="utf-8")
        conversations = rows_from_jsonl(plain)
    random = np.random.default_rng(0)
    sizes = [
        sum(len(message["content"]) for message in conversation) // 4
        for conversation in conversations
    ]
    return [row_of(size, random) for size in sizes if 8 <= size <= CONTEXT][:number]


def padding(rows: list[TokenRow]) -> float:
    """The share of padding in batches formed at random."""
    order = np.random.default_rng(1).permutation(len(rows))
    lengths = np.array([len(rows[i][0]) for i in order[: len(rows) // ROWS * ROWS]]).reshape(
        -1, ROWS
    )
    return 1 - float(lengths.sum() / (lengths.max(1).sum() * ROWS))


def our_side(
    rows: list[TokenRow], steps: int, precision: str, window: int, micro: int | None
) -> Callable[[], float]:
    """Seconds per real token over the next `steps` steps. A multiple of the window's steps takes
    rows of every length.
    """
    network = Transformer(SIZES, border=1, generator=torch.Generator().manual_seed(0))
    policy = TokenPolicy(network, torch.arange(VOCABULARY) >= SPECIAL - 1)
    learner = Learner(
        policy,
        Schedule(1e-3, 10_000),
        optimizer=adamw(weight_decay=0.0),
        rows_per_micro_batch=micro,
        precision=precision,
    )
    algorithm = Supervised(policy, learner, Stopwatch())
    sampler = ConversationRows(Shuffled(rows, seed=0), rows_per_step=ROWS, seed=0, window=window)

    def work() -> float:
        tokens, began = 0, time.perf_counter()
        for _ in range(steps):
            batch = next(sampler)
            # a row's last step is marked, whatever its padding: its place is the row's length − 2
            tokens += int((batch.terminated.int().argmax(1) + 2).sum())
            algorithm.update(batch)
        return (time.perf_counter() - began) / tokens

    return work


def their_side(
    rows: list[TokenRow], steps: int, precision: str, grouped: bool, folder: Path
) -> Callable[[], float]:
    """The same of TRL: each call trains on from where the model is; the first step of a call is not
    timed.
    """
    import transformers
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar
    from transformers import AutoTokenizer, LlamaForCausalLM, PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    data = Dataset.from_dict(
        {
            "input_ids": [ids for ids, _ in rows],
            "completion_mask": [[int(x) for x in own] for _, own in rows],
        }
    )
    calls = 0

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self.ends.append(time.perf_counter())

    def work() -> float:
        nonlocal calls
        calls += 1
        clock, sizes = Clock(), []
        config = SFTConfig(
            output_dir=str(folder / "trl"),
            per_device_train_batch_size=ROWS,
            max_steps=steps + 1,
            learning_rate=1e-3,
            optim="adamw_torch_fused",
            bf16=precision == "bf16",
            use_cpu=True,
            gradient_checkpointing=False,
            completion_only_loss=True,
            max_length=None,
            train_sampling_strategy="group_by_length" if grouped else "random",
            dataloader_pin_memory=False,
            seed=calls,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder)
        trainer = SFTTrainer(
            model=model,
            args=config,
            train_dataset=data,
            processing_class=tokenizer,
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)  # it prints on standard output
        collate = trainer.data_collator

        def counted(examples: list[Any]) -> Any:
            sizes.append(sum(len(example["input_ids"]) for example in examples))
            return collate(examples)

        trainer.data_collator = counted
        trainer.train()
        return (clock.ends[-1] - clock.ends[0]) / sum(sizes[1 : steps + 1])

    return work


def measure(
    rows: list[TokenRow],
    precision: str,
    quick: bool,
    folder: Path,
    ours: Iterable[tuple[int, int | None]],
) -> Times:
    steps, rounds = (2, 1) if quick else (16, 3)
    names = {f"ours window {w}, {m or 'all'} rows": (w, m) for w, m in ours}
    sides = {name: our_side(rows, steps, precision, w, m) for name, (w, m) in names.items()}
    sides |= {
        f"TRL{', by length' if grouped else ''}": their_side(
            rows, steps, precision, grouped, folder
        )
        for grouped in ((False,) if quick else (False, True))
    }
    return alternate(sides, rounds, warm=0 if quick else 1)


def main() -> None:
    given = options(__doc__)
    number = 256 if given.quick else 4096
    sets = {"log-normal": made_up_rows(number)} | (
        {"alpaca": real} if (real := real_rows(number)) else {}
    )
    ours = ((1, None), (8, None)) if given.quick else OURS
    parts, ratios, figures, targets = [], {}, {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        network = Transformer(SIZES, generator=torch.Generator().manual_seed(0))
        save_model(folder, network, train_tokenizer("bytes", [], None))
        for what, rows in sets.items():
            say(
                f"{what}, {PRECISION}: {len(rows)} rows, {padding(rows):.0%} padding in batches "
                "formed at random"
            )
            times = measure(rows, PRECISION, given.quick, folder, ours)
            speed = {
                side: {
                    "median": 1 / statistics.median(t),
                    "lowest": 1 / max(t),
                    "highest": 1 / min(t),
                }
                for side, t in times.items()
            }
            best = max(
                (side for side in speed if side.startswith("ours")),
                key=lambda side: speed[side]["median"],
            )
            label = f"{what} {PRECISION}"
            parts.append(
                f"{label}, {padding(rows):.0%} padding\n" + rate_table(speed, "real tokens/s")
            )
            default = "ours window 8, all rows"  # of `fledge tune`
            for side in dict.fromkeys((default, best)):
                pairs = zip(times[side], times["TRL"], strict=True)
                ratios[f"{label}: {side} / TRL"] = statistics.median(b / a for a, b in pairs)
                targets[f"{label}: {side} / TRL"] = "≥ 2.5"
            figures[label] = {"tokens_per_second": speed, "padding": padding(rows), "best": best}
    finish(given.json, "\n\n".join(parts), ratios, figures, targets)


if __name__ == "__main__":
    main()
