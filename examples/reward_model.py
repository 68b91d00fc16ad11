"""Train a reward model on pairs, ask it for scores, and align a model by it."""

import fledge

words = ["cat", "dog", "sun", "moon", "tree", "bird", "fish", "rain", "star", "leaf"]
texts = [f"the {a} and the {b}." for a in words for b in words]
prompts = [f"{a} or {b}?" for a in words for b in words]
pairs = [{"prompt": each, "chosen": "both", "rejected": each[:3]} for each in prompts]

sizes = {"tokenizer": "bytes", "layers": 2, "width": 64, "heads": 4, "context": 64}
base = fledge.pretrain(texts, **sizes, tokens_per_step=1024, steps=20)
judge = fledge.reward(base, pairs, steps=25, pairs_per_step=32)
print(judge)
print("both:", judge.model.score("sun or moon?", "both"))
print("sun: ", judge.model.score("sun or moon?", "sun"))

# The answers in the rows are the true score, which is only looked at: does the model that wins the
# judge's favour also get better?
run = fledge.align(
    base,
    task=[{"prompt": each, "answer": "both"} for each in prompts],
    reward=judge,
    algorithm="ppo",
    steps=4,
    prompts_per_step=16,
    samples_per_prompt=4,
    max_new_tokens=8,
)
print(run, run.metrics.column("reward_model_score")[-1])
