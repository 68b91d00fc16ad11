#!/usr/bin/env bash
# trl 1.16.0: in ORPO and CPO, reading a step's pairs in two micro-batches gives another gradient than reading them in one.
#
# Guess:  gradient accumulation trades memory for time and changes nothing else, as SFTTrainer keeps it by counting the tokens of
#         the whole step.
# Seen:   both add the likelihood of the chosen texts to the preference's loss, as a mean over the tokens of one micro-batch, and
#         average these means. A short text that is alone in its micro-batch weighs as much as a long one: with answers of 1 and 12
#         tokens the gradient moves by more than half, exactly by what the two ways to average say. With cpo_alpha=0, where that
#         part is gone, it does not.
# Why it matters: per_device_train_batch_size is chosen by what fits in memory, and decides how much each token counts.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HOME="$work/hf" HF_HUB_OFFLINE=1 TRL_EXPERIMENTAL_SILENCE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 accelerate==1.15.0 \
    datasets==5.2.0 trl==1.16.0
cat > "$work/run.py" <<'PY'
import sys

import torch
import transformers
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

transformers.logging.set_verbosity_error()
words = ["<pad>", "<end>", "<unknown>", "say", "a", "b", "c", "d"]
made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unknown>"))
made.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", pad_token="<pad>", unk_token="<unknown>")
pairs = [
    {"prompt": "say ", "chosen": "a", "rejected": "b"},
    {"prompt": "say ", "chosen": "c d c a c d c b c d c a", "rejected": "d"},
]
answers = [{"prompt": pair["prompt"], "completion": pair["chosen"]} for pair in pairs]


def make():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        initializer_range=0.3, pad_token_id=0, bos_token_id=None, eos_token_id=1,
    )
    return LlamaForCausalLM(config).double()


def write_out():
    """What the two ways to average the chosen answers' -log p differ by, as a gradient.  [weights]"""
    model, sums, counts = make(), [], []
    for pair in pairs:
        ids = torch.tensor([words.index(word) for word in (pair["prompt"] + pair["chosen"] + " <end>").split()])
        log_p = model(ids[None, :-1]).logits[0].log_softmax(-1)
        sums.append(-log_p.gather(-1, ids[1:, None]).sum())
        counts.append(len(ids) - 1)
    of_rows = sum(total / count for total, count in zip(sums, counts)) / len(pairs)
    (of_rows - sum(sums) / sum(counts)).backward()
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])


def step(kind, config, rows, size, **more):
    """One step of plain gradient descent over both rows, `size` at a time.  -> its gradient.  [weights]"""
    model = make()
    before = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    arguments = config(
        output_dir=sys.argv[1] + "/out", use_cpu=True, bf16=False, report_to=[], disable_tqdm=True, save_strategy="no",
        gradient_checkpointing=False, max_steps=1, per_device_train_batch_size=size,
        gradient_accumulation_steps=len(rows) // size, optim="sgd", learning_rate=1.0, lr_scheduler_type="constant",
        max_grad_norm=0.0, **more,
    )
    kind(model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer).train()
    return before - torch.nn.utils.parameters_to_vector(model.parameters()).detach()


print("trl", trl.__version__)
moved, explained, by_hand = {}, {}, write_out()
for name, kind, config, rows, more in (
    ("SFT", SFTTrainer, SFTConfig, answers, {}),
    ("ORPO", ORPOTrainer, ORPOConfig, pairs, {}),
    ("CPO", CPOTrainer, CPOConfig, pairs, {}),
    ("CPO, cpo_alpha=0", CPOTrainer, CPOConfig, pairs, {"cpo_alpha": 0.0}),
):
    at_once, in_two = (step(kind, config, rows, size, **more) for size in (2, 1))
    moved[name] = float((at_once - in_two).norm() / at_once.norm())
    explained[name] = float((in_two - at_once - by_hand).norm() / by_hand.norm())
    print(f"{name}: two micro-batches of one row move the gradient of one of two by {moved[name]:.1%}")
assert moved["SFT"] < 1e-6 and moved["CPO, cpo_alpha=0"] < 1e-6, "these depended on it as well"
assert explained["ORPO"] < 1e-4 and explained["CPO"] < 1e-4, "by something else than was seen"
assert moved["ORPO"] > 0.5 and moved["CPO"] > 0.5, "the gradient no longer depends on it"
PY
"$work/venv/bin/python" "$work/run.py" "$work" > "$work/said" 2> "$work/log" || { cat "$work/said"; tail -5 "$work/log"; exit 1; }
grep -v "^{" "$work/said"
