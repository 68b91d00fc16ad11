"""Reinforcement learning with a function as the reward: it likes small letters, eight or more."""

import fledge


def reward(prompt: str, completion: str) -> float:
    """Any finite number; the better answers to a prompt are made likelier."""
    letters = sum(character.islower() for character in completion)
    return letters / max(8, len(completion))


words = ["cat", "dog", "sun", "moon", "tree", "bird", "fish", "rain", "star", "leaf"]
texts = [f"the {a} and the {b}: {len(a)} + {len(b)} = {len(a + b)}" for a in words for b in words]
sizes = {"tokenizer": "bytes", "layers": 2, "width": 64, "heads": 4, "context": 64}
base = fledge.pretrain(texts, **sizes, tokens_per_step=1024, steps=40)

run = fledge.align(
    base,
    prompts=[f"say {a} {b}" for a in words for b in words],
    reward=reward,
    algorithm="grpo",
    steps=12,
    prompts_per_step=16,
    samples_per_prompt=4,
    max_new_tokens=12,
    learning_rate=5e-3,
    kl_coefficient=0.0,
)
first, last = run.metrics.column("reward")[0], run.metrics.column("reward")[-1]
print(f"reward {first[1]:.2f} → {last[1]:.2f} in {last[0]} steps")
print(run.model.generate("say cat dog", samples=3, max_new_tokens=12))
