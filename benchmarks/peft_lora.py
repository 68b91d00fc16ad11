"""PEFT's side of `real_results.py lora`, and the judge of both: `python peft_lora.py JSON` trains a
LoRA adapter (rank 16, α 32, every linear matrix of the layers) with transformers and PEFT, then
prints the nats a held-out token of the base, of theirs and of ours, all by transformers in fp32.
Theirs learns in the precision that `fledge tune` measured to be the faster on this machine.
"""

from __future__ import annotations

import json
import math
import random
import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

ROWS, RATE, WARM, LONGEST = 16, 2e-4, 10, 1024  # as `fledge tune` is asked

Row = tuple[list[int], int]  # tokens, and where the answer begins


def main() -> None:
    given = json.loads(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(given["source"])
    held = read(Path(given["held"]), tokenizer)
    nats = {"base": measure(load(given["source"]), held)}
    with torch.autocast("cpu", torch.bfloat16, enabled=given["precision"] == "bf16"):
        theirs = train(given, read(Path(given["learn"]), tokenizer))
    nats["peft"] = measure(theirs, held)
    ours = PeftModel.from_pretrained(load(given["source"]), given["adapter"])
    nats["fledge"] = measure(ours, held)
    print(json.dumps({"nats": nats, "steps": given["steps"]}))


def load(source: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)


def read(file: Path, tokenizer: Any) -> list[Row]:
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        asked = [{"role": "user", "content": row["prompt"]}]
        whole = [*asked, {"role": "assistant", "content": row["completion"]}]
        before = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
        ids = tokenizer.apply_chat_template(whole, return_dict=False)
        assert ids[: len(before)] == before
        # What stands after the end of the last turn is no answer, and fledge learns none of it.
        end = len(ids) - 1 - ids[::-1].index(tokenizer.eos_token_id)
        rows.append((ids[: end + 1][:LONGEST], len(before)))
    return rows


def train(given: dict[str, Any], rows: list[Row]) -> Any:
    torch.manual_seed(given["seed"])
    model = get_peft_model(
        load(given["source"]),
        LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=RATE, weight_decay=0.0)
    order = random.Random(given["seed"]).sample(rows, len(rows))
    steps = given["steps"]
    for step in range(steps):
        batch = [order[i % len(order)] for i in range(step * ROWS, (step + 1) * ROWS)]
        learnt = sum(len(ids) - begin for ids, begin in batch)
        # Four rows of like length at a time.
        batch.sort(key=lambda row: len(row[0]))
        for first in range(0, ROWS, 4):
            (sum_nats(model, batch[first : first + 4]) / learnt).backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        rise = min(1.0, (step + 1) / WARM)
        fall = 0.5 * (1 + math.cos(math.pi * max(0, step - WARM) / (steps - WARM)))
        optimizer.param_groups[0]["lr"] = RATE * rise * fall
        optimizer.step()
        optimizer.zero_grad()
    return model


def measure(model: Any, rows: list[Row]) -> float:
    """Nats a token of the answers, their ends included."""
    model.eval()
    rows = sorted(rows, key=lambda row: len(row[0]))
    with torch.inference_mode():
        total = sum(float(sum_nats(model, rows[i : i + 4])) for i in range(0, len(rows), 4))
    return total / sum(len(ids) - begin for ids, begin in rows)


def sum_nats(model: Any, rows: list[Row]) -> torch.Tensor:
    width = max(len(ids) for ids, _ in rows)
    tokens = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
    learnt = torch.tensor([[begin <= i < len(ids) for i in range(width)] for ids, begin in rows])
    logits = model(tokens).logits[:, :-1]
    logp = logits[learnt[:, 1:]].float().log_softmax(-1)
    return -logp.gather(1, tokens[:, 1:][learnt[:, 1:]][:, None]).sum()


if __name__ == "__main__":
    main()
