"""What benchmarks/real_align.py runs in a process of its own, by way of real_children.py: steps of
GRPO and of DPO with a LoRA adapter (rank 16, α 32, every linear matrix of the layers), ours and
TRL's.

Both sides begin with the same adapter, and make the same first step on the same rows, which is not
timed: the norm of its gradient says whether they do the same work.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BETAS = (0.9, 0.95)
Given = dict[str, Any]


def judge(completions: Sequence[Sequence[int]]) -> list[float]:
    """Any reward will do that differs within a group: the mean place of the tokens."""
    return [sum(tokens) / len(tokens) / 49_152 for tokens in completions]


def begin_ours(given: Given) -> tuple[Any, Any, Any]:
    """The model with the adapter, all of whose tokens are actions; its learner, as `fledge align`
    and `fledge prefer` have it for a model of this size.
    """
    import torch

    from fledge.hub.adapter_targets import FrozenBase
    from fledge.hub.folder import load_model
    from fledge.learner import Learner, Schedule
    from fledge.models.language.adapters import LoRA
    from fledge.optimizers import adamw
    from fledge.policy import TokenPolicy
    from fledge.recipes.training import MICRO_BATCH

    held = FrozenBase(given["weights"])
    loaded = load_model(Path(given["model"]), freeze=lambda network: held).adapt(
        LoRA(16, 32.0),
        weights=held.weights,
        generator=torch.Generator().manual_seed(given["seed"]),
    )
    loaded.network.gradient_checkpointing = given.get("checkpointing", False)
    policy = TokenPolicy(loaded.network)
    learner = Learner(
        policy, Schedule(given["learning_rate"], 10_000),
        optimizer=adamw(betas=BETAS, weight_decay=0.0),
        tokens_per_micro_batch=MICRO_BATCH, precision=given["precision"],
    )  # fmt: skip
    return loaded, policy, learner


def grpo_ours(given: Given) -> dict[str, float]:
    import torch

    from fledge.algorithms.policy.grpo import GRPO
    from fledge.policy import TokenPolicy
    from fledge.sample.generate import Completion
    from fledge.sample.rollouts import Rollouts, build_trajectories
    from fledge.stopwatch import Stopwatch
    from fledge.tasks.examples import Example
    from fledge.tasks.named import load_task

    loaded, policy, learner = begin_ours(given)
    prompts, samples = given["prompts"], given["samples"]
    asked = [prompt for prompt in prompts[: given["prompts_per_step"]] for _ in range(samples)]
    same = [
        Completion(prompt, tokens, [0.0] * len(tokens), "length")
        for prompt, tokens in zip(asked, given["first"], strict=True)
    ]
    group = [i // samples for i in range(len(same))]
    rows = build_trajectories(same, judge(given["first"]), group)
    with torch.no_grad(), learner.autocast():  # nobody sampled them
        pieces = learner.micro_batches.map(
            lambda part: [policy.log_prob(part.obs, part.action, part.chosen)], rows
        )
    stopwatch = Stopwatch()
    first = GRPO(policy, learner, stopwatch).update(rows.replace(logp=pieces[0]))

    def score(
        examples: Sequence[Example], completions: Sequence[Completion], texts: Sequence[str]
    ) -> dict[str, list[float]]:
        return {"reward": judge([one.tokens for one in completions])}

    allowed = torch.ones(policy.network.config.vocab_size, dtype=torch.bool)
    allowed[given["banned"]] = False
    policy = TokenPolicy(loaded.network, allowed)
    sampler = Rollouts(
        policy, loaded.tokenizer, load_task(given["task"]),
        score, stopwatch,
        prompts_per_step=given["prompts_per_step"], samples_per_prompt=samples,
        max_new_tokens=given["new"], seed=0, precision=given["generation"],
    )  # fmt: skip
    sampler.position = given["prompts_per_step"]
    algorithm = GRPO(policy, learner, stopwatch)
    stopwatch.take()
    began = time.perf_counter()
    for _ in range(given["steps"]):
        algorithm.update(next(sampler))
    seconds = time.perf_counter() - began
    return {
        "completions": given["steps"] * len(same),
        "seconds": seconds,
        "sampling_s": stopwatch.take()["generate"],
        "first_gradient": first["grad_norm"],
    }


def dpo_ours(given: Given) -> dict[str, float]:
    from fledge.algorithms.preference.dpo import DPO
    from fledge.sample.conversations import pair_rows
    from fledge.stopwatch import Stopwatch

    _, policy, learner = begin_ours(given)
    stopwatch = Stopwatch()
    algorithm = DPO(policy, learner, stopwatch, reference=policy.frozen_copy())

    def row(prompt: list[int], answer: list[int]) -> tuple[list[int], list[bool]]:
        return prompt + answer, [False] * len(prompt) + [True] * len(answer)

    pairs = [(row(p, chosen), row(p, rejected)) for p, chosen, rejected in given["pairs"]]
    size = given["pairs_per_step"]
    batches = [pair_rows(pairs[a : a + size]) for a in range(0, len(pairs), size)]
    first = algorithm.update(batches[0])
    stopwatch.take()
    began = time.perf_counter()
    steps = [algorithm.update(batch) for batch in batches[1:]]
    seconds = time.perf_counter() - began
    return {
        "pairs": len(pairs) - size,
        "seconds": seconds,
        "reference_s": stopwatch.take()["score"],
        "first_gradient": first["grad_norm"],
        "second_loss": steps[0]["loss"],
    }


def begin_trl(given: Given) -> tuple[dict[str, Any], dict[str, Any], list[float]]:
    """What both of TRL's trainers are given: of their config, of themselves; and a list that is
    told when each optimizer step ends.
    """
    import torch
    import transformers
    from datasets.utils.logging import disable_progress_bar
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    config = {
        "output_dir": given["scratch"],
        "max_steps": given["steps"] + 1,
        "per_device_train_batch_size": given["rows"],
        "learning_rate": given["learning_rate"],
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "optim": "adamw_torch_fused",
        "adam_beta1": BETAS[0],
        "adam_beta2": BETAS[1],
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bf16": given["precision"] == "bf16",
        "use_cpu": True,
        "gradient_checkpointing": given["checkpointing"],
        "dataloader_pin_memory": False,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
    }
    dtype = torch.bfloat16 if given["weights"] == "bf16" else torch.float32
    trainer = {
        "model": AutoModelForCausalLM.from_pretrained(given["model"], dtype=dtype),
        "processing_class": AutoTokenizer.from_pretrained(given["model"]),
        "callbacks": [Clock()],
        "peft_config": LoraConfig(
            r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    }
    return config, trainer, ends


def train(trainer: Any, given: Given) -> list[dict[str, float]]:
    """From the adapter that ours begins with.  -> what it logs of each step"""
    from peft import load_peft_weights, set_peft_model_state_dict
    from transformers import PrinterCallback

    said = set_peft_model_state_dict(trainer.model, load_peft_weights(given["adapter"]))
    assert not said.unexpected_keys
    trainer.remove_callback(PrinterCallback)  # it prints on standard output
    trainer.train()
    return [row for row in trainer.state.log_history if "grad_norm" in row]


def grpo_trl(given: Given) -> dict[str, float]:
    from datasets import Dataset, table
    from trl import GRPOConfig, GRPOTrainer

    config, parts, ends = begin_trl(given)
    tokenizer, prompts, samples = parts["processing_class"], given["prompts"], given["samples"]
    texts = tokenizer.batch_decode(prompts)  # in the chat template already
    assert tokenizer(texts)["input_ids"] == prompts
    rows_per_step = given["prompts_per_step"] * samples
    sampling: list[float] = []

    class Timed(GRPOTrainer):
        def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
            if not ends:  # the first step is made on given answers
                return given["first"], None
            began = time.perf_counter()
            said = super()._generate_single_turn(*args, **kwargs)
            sampling.append(time.perf_counter() - began)
            assert all(len(tokens) == given["new"] for tokens in said[0])
            return said

    trainer = Timed(
        **parts,
        reward_funcs=lambda completion_ids, **_: judge(completion_ids),
        args=GRPOConfig(
            **config, num_generations=samples,
            gradient_accumulation_steps=rows_per_step // given["rows"],
            max_completion_length=given["new"], temperature=1.0, use_vllm=False,
            shuffle_dataset=False, generation_kwargs={"suppress_tokens": given["banned"]},
            loss_type="grpo", beta=0.0,
        ),
        # Under a name of its own: some versions of datasets cannot hash what they hold.
        train_dataset=Dataset(
            table.InMemoryTable.from_pydict({"prompt": texts}), fingerprint="prompts"
        ),
    )  # fmt: skip
    logged = train(trainer, given)
    return {
        "completions": given["steps"] * rows_per_step,
        "seconds": ends[-1] - ends[0],
        "sampling_s": sum(sampling),
        "first_gradient": logged[0]["grad_norm"],
    }


def dpo_trl(given: Given) -> dict[str, float]:
    from datasets import Dataset, table
    from trl import DPOConfig, DPOTrainer

    config, parts, ends = begin_trl(given)
    reference: list[float] = []

    class Timed(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
            return dataset  # they are tokens already

        def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            said = super()._precompute_ref_logps(*args, **kwargs)
            reference.append(time.perf_counter() - began)
            return said

    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    columns = dict(zip(names, map(list, zip(*given["pairs"], strict=True)), strict=True))
    trainer = Timed(
        **parts,
        args=DPOConfig(
            **config, beta=0.1, max_length=None, train_sampling_strategy="sequential",
            precompute_ref_log_probs=given["precompute"],
        ),
        train_dataset=Dataset(table.InMemoryTable.from_pydict(columns), fingerprint="pairs"),
    )  # fmt: skip
    logged = train(trainer, given)
    timed = len(given["pairs"]) - given["rows"]
    reference_s = sum(reference) * timed / len(given["pairs"])
    return {
        "pairs": timed,
        "seconds": ends[-1] - ends[0] + reference_s,
        "reference_s": reference_s,
        "first_gradient": logged[0]["grad_norm"],
        "second_loss": logged[1]["loss"],
    }
