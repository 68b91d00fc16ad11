"""What benchmarks/real_model.py and real_align.py run in a process of its own, for a cold start and
a peak of memory that nobody shares: `real_children.py WORK SIDE JSON` prints one JSON object.

cold: read a model and say one token. tune: some steps with a LoRA adapter (rank 16, α 32, every
linear matrix of the layers, AdamW) on rows of token ids; the first step is not timed. grpo, dpo:
real_align_children.py.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

from real_align_children import dpo_ours, dpo_trl, grpo_ours, grpo_trl

Rows = list[tuple[list[int], list[bool]]]


def cold_ours(given: dict[str, Any]) -> dict[str, float]:
    from fledge.engine.engine import Engine
    from fledge.engine.request import Request
    from fledge.hub.folder import load_model

    began = time.perf_counter()
    policy = load_model(Path(given["model"])).policy()
    engine = Engine(policy, slots=1, positions=64, precision=given["precision"])
    loaded = time.perf_counter()
    engine.run([Request(given["prompt"], 1)])
    return {"load_s": loaded - began, "first_token_s": time.perf_counter() - loaded}


def cold_llama(given: dict[str, Any]) -> dict[str, float]:
    from real_llama import Llama

    began = time.perf_counter()
    server = Llama(Path(given["model"]), rows=1, positions=64, threads=given["threads"])
    loaded = time.perf_counter()
    server.go_on([given["prompt"]], 1)
    return {"load_s": loaded - began, "first_token_s": time.perf_counter() - loaded}


def cold_transformers(given: dict[str, Any]) -> dict[str, float]:
    import torch
    from transformers import AutoModelForCausalLM

    began = time.perf_counter()
    dtype = getattr(torch, given["precision"])
    model = AutoModelForCausalLM.from_pretrained(given["model"], dtype=dtype).eval()
    loaded = time.perf_counter()
    with torch.inference_mode():
        model(torch.tensor([given["prompt"]])).logits[0, -1].argmax()
    return {"load_s": loaded - began, "first_token_s": time.perf_counter() - loaded}


def tune_ours(given: dict[str, Any]) -> dict[str, float]:
    """The parts of `fledge tune` with its defaults for a model of this size."""
    from fledge.algorithms.likelihood.supervised import Supervised
    from fledge.hub.adapter_targets import FrozenBase
    from fledge.hub.folder import load_model
    from fledge.learner import Learner, Schedule
    from fledge.models.language.adapters import LoRA
    from fledge.optimizers import adamw
    from fledge.recipes.training import MICRO_BATCH
    from fledge.sample.conversations import ConversationRows, Shuffled
    from fledge.stopwatch import Stopwatch

    held = FrozenBase(given["weights"])
    loaded = load_model(Path(given["model"]), freeze=lambda network: held)
    loaded = loaded.adapt(LoRA(16, 32.0), weights=held.weights)
    loaded.network.gradient_checkpointing = given.get("checkpointing", False)
    policy = loaded.policy()
    learner = Learner(
        policy, Schedule(2e-4, 10_000), optimizer=adamw(weight_decay=0.0),
        tokens_per_micro_batch=MICRO_BATCH, precision=given["precision"],
    )  # fmt: skip
    algorithm = Supervised(policy, learner, Stopwatch())
    sampler = ConversationRows(
        Shuffled(given["rows"], seed=0), rows_per_step=given["rows_per_step"], seed=0
    )
    batches = [next(sampler) for _ in range(given["steps"])]
    algorithm.update(batches[0])
    began = time.perf_counter()
    for batch in batches:
        algorithm.update(batch)
    seconds = time.perf_counter() - began
    # a row's last step is marked, whatever its padding: its place is the row's length − 2
    tokens = sum(int((batch.terminated.int().argmax(1) + 2).sum()) for batch in batches)
    return {"tokens": tokens, "seconds": seconds}


def tune_trl(given: dict[str, Any]) -> dict[str, float]:
    import torch
    import transformers
    from datasets import Dataset, table
    from datasets.utils.logging import disable_progress_bar
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    ends: list[float] = []
    sizes: list[int] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    rows: Rows = given["rows"]
    # Under a name of its own: some versions of datasets cannot hash what they hold.
    data = Dataset(
        table.InMemoryTable.from_pydict(
            {
                "input_ids": [ids for ids, _ in rows],
                "labels": [
                    [i if x else -100 for i, x in zip(ids, own, strict=True)] for ids, own in rows
                ],
            }
        ),
        fingerprint="rows",
    )
    config = SFTConfig(
        output_dir=given["scratch"],
        per_device_train_batch_size=given["rows_per_step"],
        max_steps=given["steps"] + 1,
        learning_rate=2e-4,
        optim="adamw_torch_fused",
        bf16=given["precision"] == "bf16",
        use_cpu=True,
        gradient_checkpointing=given["checkpointing"],
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},  # they are tokens already
        train_sampling_strategy="group_by_length" if given["grouped"] else "random",
        dataloader_pin_memory=False,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(given["model"], dtype=torch.float32),
        args=config,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(given["model"]),
        callbacks=[Clock()],
        peft_config=LoraConfig(
            r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    trainer.remove_callback(PrinterCallback)  # it prints on standard output
    collate = trainer.data_collator

    def counted(examples: list[Any]) -> Any:
        sizes.append(sum(len(example["input_ids"]) for example in examples))
        return collate(examples)

    trainer.data_collator = counted
    trainer.train()
    return {"tokens": sum(sizes[1 : given["steps"] + 1]), "seconds": ends[-1] - ends[0]}


WORK = {
    ("cold", "ours"): cold_ours,
    ("cold", "llama.cpp"): cold_llama,
    ("cold", "transformers"): cold_transformers,
    ("tune", "ours"): tune_ours,
    ("tune", "TRL"): tune_trl,
    ("grpo", "ours"): grpo_ours,
    ("grpo", "TRL"): grpo_trl,
    ("dpo", "ours"): dpo_ours,
    ("dpo", "TRL"): dpo_trl,
}


def main() -> None:
    work, side, given = sys.argv[1:]
    done = WORK[work, side](json.loads(Path(given).read_text()))
    print(json.dumps(done | {"peak_mb": peak_mb()}))


def peak_mb() -> float:
    """Of this program alone: ru_maxrss begins at what its parent held when it forked."""
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 10**6


if __name__ == "__main__":
    main()
