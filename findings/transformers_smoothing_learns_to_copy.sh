#!/usr/bin/env bash
# transformers 5.24.0: with label smoothing, Trainer teaches a causal model class of one's own to say the token it was just given.
#
# Guess:  `label_smoothing_factor` smooths the targets; which token is the target of which place stays as it is without it.
# Seen:   at 0 the model's own loss compares each place with the next token. Above 0 Trainer takes the labels away from the model
#         and shifts them itself, but only where the name of the class is in transformers' list of causal models. A class that
#         was registered with AutoModelForCausalLM is not in it: each token is its own label, and the sum over T tokens is
#         divided by the T - 1 that have a next one. Nothing is said.
# Why it matters: the reported loss falls as it should while the model learns to copy. Here two classes with the same weights and
#         code read texts that count upwards: the built-in one goes on counting, the other repeats the last number for ever.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HOME="$work/hf" HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 accelerate==1.15.0
cat > "$work/run.py" <<'PY'
import sys

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

transformers.logging.set_verbosity_error()
NUMBERS = 10


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig


AutoConfig.register("own", OwnConfig)
AutoModelForCausalLM.register(OwnConfig, OwnForCausalLM)

texts = (torch.arange(NUMBERS)[:, None] + torch.arange(6)) % NUMBERS  # each counts upwards from its row's number
rows = [{"input_ids": text, "labels": text} for text in texts]


def make(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(
        config(
            vocab_size=NUMBERS, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, bos_token_id=None, eos_token_id=None, pad_token_id=None,
        )
    )


def train(model, smoothing, steps):
    """-> the loss that Trainer reports of each step; every step reads all the texts."""
    arguments = TrainingArguments(
        output_dir=sys.argv[1] + "/out", use_cpu=True, report_to=[], disable_tqdm=True, logging_strategy="steps",
        logging_steps=1, save_strategy="no", max_steps=steps, per_device_train_batch_size=NUMBERS,
        learning_rate=0.01, lr_scheduler_type="constant", label_smoothing_factor=smoothing,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def write_out(model, smoothing, shift):
    """(1 - ε)·(-log p of the target) + ε·(its mean over the vocabulary), summed, for each token that has a next one."""
    with torch.no_grad():
        log_p = model(texts).logits.log_softmax(-1)
    log_p, targets = (log_p[:, :-1], texts[:, 1:]) if shift else (log_p, texts)
    hit = log_p.gather(-1, targets[..., None])[..., 0]
    return float(-((1 - smoothing) * hit + smoothing * log_p.mean(-1)).sum() / texts[:, 1:].numel())


print("transformers", transformers.__version__)
for config, smoothing, shifted in ((LlamaConfig, 0.1, True), (OwnConfig, 0.0, True), (OwnConfig, 0.1, False)):
    model = make(config)
    name = f"{type(model).__name__}, smoothing {smoothing}"
    next_one, same_one = write_out(model, smoothing, True), write_out(model, smoothing, False)
    losses = train(model, smoothing, 60)
    said = model.generate(torch.tensor([[2, 3, 4]]), attention_mask=torch.ones(1, 3), max_new_tokens=5, do_sample=False)
    said = said[0].tolist()
    print(f"{name}: first loss {losses[0]:.4f}; by hand {next_one:.4f} to the next token, {same_one:.4f} to the same one")
    print(f"    loss after 60 steps {losses[-1]:.4f}; goes on after 2 3 4: {said[3:]}")
    assert abs(next_one - same_one) > 1e-2, "the two cannot be told apart here"
    assert abs(losses[0] - (next_one if shifted else same_one)) < 1e-3, "another loss than was seen"
    assert said[3:] == ([5, 6, 7, 8, 9] if shifted else [4] * 5), "another text than was seen"
PY
"$work/venv/bin/python" "$work/run.py" "$work" > "$work/said" 2> "$work/log" || { cat "$work/said"; tail -5 "$work/log"; exit 1; }
grep -v "^{" "$work/said"
