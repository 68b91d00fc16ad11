#!/usr/bin/env bash
# trl 1.16.0: GRPO with num_iterations above 1, stopped within a batch and resumed, is another run than one not stopped.
#
# Guess:  a checkpoint of a trainer that restores optimizer, schedule, generators and place in the data holds what comes next; at
#         num_iterations=1 it does.
# Seen:   the completions that are gone through num_iterations times are in no checkpoint, nor is the count of times. The resumed
#         run generates new ones for the same prompts, with the weights of that moment, and counts from 0: saved after 2 of 3
#         times, a prompt has 5 updates on two sets of completions in place of 3 on one, and every later prompt comes 2 steps late.
#         Saved between two batches it goes on with the same bits. Nothing is said.
# Why it matters: with save_steps that is no multiple of num_iterations · steps_per_generation / gradient_accumulation_steps, being
#         killed and resumed, which should leave no trace, changes what a run learned and from what.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HOME="$work/hf" HF_HUB_OFFLINE=1
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
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed
from trl import GRPOConfig, GRPOTrainer

transformers.logging.set_verbosity_error()
torch.set_num_threads(1)
words = ["<pad>", "<end>", "<unknown>", "one", "two", "three", "four", "a", "b", "c", "d"]
made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unknown>"))
made.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", pad_token="<pad>", unk_token="<unknown>")
prompts = Dataset.from_list([{"prompt": word} for word in ("one", "two", "three", "four")])
STEPS = 6


def run(times, folder, checkpoint):
    """As in a process of its own: built anew, generators seeded.  -> the weights after STEPS, {step: prompt generated for}"""
    set_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            pad_token_id=0, bos_token_id=None, eos_token_id=1,
        )
    )
    generated = {}

    def count_a(prompts, completions, trainer_state, **ignored):
        generated[trainer_state.global_step + 1] = prompts[0]
        return [float(text.split().count("a")) for text in completions]

    arguments = GRPOConfig(
        output_dir=folder, use_cpu=True, bf16=False, report_to=[], disable_tqdm=True, gradient_checkpointing=False,
        max_steps=STEPS, save_strategy="steps", save_steps=1, learning_rate=0.01, lr_scheduler_type="constant",
        per_device_train_batch_size=8, num_generations=8, max_completion_length=6, num_iterations=times, seed=0,
    )
    trainer = GRPOTrainer(
        model=model, args=arguments, reward_funcs=count_a, train_dataset=prompts, processing_class=tokenizer
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone(), generated


print("trl", trl.__version__)
for times, stopped in ((1, 2), (3, 3), (3, 2)):
    place = f"{sys.argv[1]}/{times}-{stopped}"
    through, order = run(times, f"{place}/through", None)
    resumed, later = run(times, f"{place}/resumed", f"{place}/through/checkpoint-{stopped}")
    apart = float((through - resumed).abs().max())
    print(f"num_iterations={times}, resumed after step {stopped}: weights up to {apart:.1e} apart after step {STEPS}")
    print(f"    generated at steps: not stopped {order}, resumed {later}")
    within = stopped % times != 0
    assert (apart > 1e-4) is within, "another run than was seen"
    if within:
        assert order == {1: order[1], 4: order[4]} and later == {3: order[1], 6: order[4]}, "other prompts than were seen"
    else:
        assert torch.equal(through, resumed)
        assert later == {at: prompt for at, prompt in order.items() if at > stopped}
PY
"$work/venv/bin/python" "$work/run.py" "$work" > "$work/said" 2> "$work/log" || { cat "$work/said"; tail -5 "$work/log"; exit 1; }
grep -v "^{" "$work/said"
