"""Measure two models on the same text and the same questions, and see what came from what."""

import fledge

words = ["cat", "dog", "sun", "moon", "tree", "bird", "fish", "rain", "star", "leaf"]
texts = [f"the {a} and the {b} saw a {c}." for a in words for b in words for c in words]
questions = [{"prompt": f"last of {a} {b}", "answer": b} for a in words for b in words]

sizes = {"tokenizer": "bytes", "layers": 2, "width": 64, "heads": 4, "context": 64}
base = fledge.pretrain(texts, **sizes, tokens_per_step=1024, steps=30, learning_rate=5e-3)
tuned = fledge.tune(base, questions, steps=80, rows_per_step=32, learning_rate=5e-3, window=1)

for run in (base, tuned):
    on_text = fledge.evaluate(run, data=texts)
    answered = fledge.evaluate(run, task=questions, max_new_tokens=8)
    print(
        f"{run.verb}: {on_text['bits_per_byte']:.2f} bits per byte, "
        f"{answered['exact_match']:.0%} of {answered['prompts']} questions"
    )
for each in fledge.runs()["runs"]:
    print(each["run"], "of", each["verb"], "is", each["bytes"] // 1000, "kB")
print(tuned.report())
