#!/usr/bin/env bash
# transformers 5.24.0: each time a finished run of Trainer is started again with resume_from_checkpoint=True it takes a step more.
#
# Guess:  a run whose checkpoint is that of step max_steps, "the total number of training steps to perform", has nothing left to do.
# Seen:   whether to stop is asked after a step. Where max_steps lies within an epoch, the run takes one step and keeps a checkpoint
#         of it, and the next start takes one after that. Where an epoch ends at max_steps it does nothing, as it should.
# Why it matters: a job that is simply started again until it is done (a queue that preempts) has weights that depend on how often
#         that was. The default schedule hides it, since its rate is 0 there; with a constant one the weights move.
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
from torch import nn
from transformers import Trainer, TrainingArguments

transformers.logging.set_verbosity_error()
rows = [{"x": torch.tensor([float(i)]), "y": torch.tensor([2.0 * i])} for i in range(1, 9)]


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(1))

    def forward(self, x, y):
        return {"loss": ((self.slope * x - y) ** 2).mean()}


def run(folder, steps, schedule, resume):
    """-> the number of the last step, the weight after it"""
    arguments = TrainingArguments(
        output_dir=folder, use_cpu=True, report_to=[], disable_tqdm=True, max_steps=steps, save_strategy="steps",
        save_steps=1, per_device_train_batch_size=1, learning_rate=0.1, lr_scheduler_type=schedule, seed=0,
    )
    trainer = Trainer(model=Line(), args=arguments, train_dataset=rows)
    trainer.train(resume_from_checkpoint=resume)
    return trainer.state.global_step, round(float(trainer.model.slope.detach()), 4)


print("transformers", transformers.__version__)
for steps, schedule in ((5, "constant"), (5, "linear"), (len(rows), "constant")):
    folder = f"{sys.argv[1]}/{steps}-{schedule}"
    seen = [run(folder, steps, schedule, resume) for resume in (False, True, True)]
    told = ", then ".join(f"{weight} at step {at}" for at, weight in seen)
    print(f"max_steps={steps}, {len(rows)} in an epoch, {schedule} rate: the weight is {told}")
    within = steps < len(rows)
    assert [at for at, _ in seen] == [steps, steps + within, steps + 2 * within], "it stops elsewhere than was seen"
    assert len({weight for _, weight in seen}) == (3 if within and schedule == "constant" else 1), "other weights than were seen"
PY
"$work/venv/bin/python" "$work/run.py" "$work" > "$work/said" 2> "$work/log" || { cat "$work/said"; tail -5 "$work/log"; exit 1; }
grep -v "^{" "$work/said"
