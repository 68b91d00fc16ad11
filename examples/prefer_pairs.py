"""Learn from pairs of answers, one preferred to the other, without a reward model: DPO."""

import fledge

words = ["cat", "dog", "sun", "moon", "tree", "bird", "fish", "rain", "star", "leaf"]
texts = [f"the {a} and the {b}." for a in words for b in words]
pairs = [{"prompt": f"{a} or {b}?", "chosen": "both", "rejected": a} for a in words for b in words]

sizes = {"tokenizer": "bytes", "layers": 2, "width": 64, "heads": 4, "context": 64}
base = fledge.pretrain(texts, **sizes, tokens_per_step=1024, steps=20)
run = fledge.prefer(base, pairs, algorithm="dpo", beta=0.1, steps=25, pairs_per_step=32)

print(run)
for answer in ("both", "cat"):
    before, after = (model.log_prob("cat or dog?", answer) for model in (base.model, run.model))
    print(f"log π({answer}) {before:.1f} → {after:.1f}")
