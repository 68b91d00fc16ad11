"""A language model from your own text: `python examples/pretrain_own_text.py [FILE or FOLDER]`."""

import sys

import fledge

words = ["cat", "dog", "sun", "moon", "tree", "bird", "fish", "rain"]
sentences = [f"the {a} and the {b} saw a {c}." for a in words for b in words for c in words]

run = fledge.pretrain(
    sys.argv[1] if len(sys.argv) > 1 else sentences,
    tokenizer="bytes",  # or "bpe", which is learned from the text
    layers=2,
    width=64,
    heads=4,
    context=64,
    tokens_per_step=1024,
    steps=60,
    learning_rate=5e-3,
)
print(run)
print(run.summary["before"], "→", run.summary["after"])
print(run.model.generate("the cat", raw=True, max_new_tokens=40, temperature=0.7))
