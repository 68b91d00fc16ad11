"""Tune a model on rows that stand in a list: questions and the answers it shall give."""

import fledge

words = ["cat", "dog", "sun", "moon", "tree", "bird", "fish", "rain", "star", "leaf"]
texts = [f"the {a} and the {b}." for a in words for b in words]
rows = [
    {"prompt": f"first of {a} {b} {c}", "completion": a}
    for a in words
    for b in words
    for c in words
]

sizes = {"tokenizer": "bytes", "layers": 2, "width": 64, "heads": 4, "context": 64}
base = fledge.pretrain(texts, **sizes, tokens_per_step=1024, steps=20)
run = fledge.tune(base, rows, steps=80, rows_per_step=32, learning_rate=5e-3, window=1)

print(run)
for row in rows[:600:200]:
    print(row["prompt"], "→", run.model.generate(row["prompt"], temperature=0, max_new_tokens=8))
run.plot()  # a matplotlib figure, or an SVG, which a notebook shows
