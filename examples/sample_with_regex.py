"""What a model may say: by a regular expression, by a list of choices; and how likely a text is."""

import fledge

words = ["cat", "dog", "sun", "moon", "tree", "bird", "fish", "rain", "star", "leaf"]
texts = [f"the {a} and the {b}." for a in words for b in words]
sizes = {"tokenizer": "bytes", "layers": 2, "width": 64, "heads": 4, "context": 64}
model = fledge.pretrain(texts, **sizes, tokens_per_step=1024, steps=40, learning_rate=5e-3).model

print(model.generate("a date?", regex="[0-9]{4}-[01][0-9]-[0-3][0-9]"))
print(model.generate("cat or dog?", choices=["cat", "dog"], samples=5))
print(model.generate("the cat", raw=True, beams=4, samples=2, max_new_tokens=12))
print(model.generate(["the sun", "the moon"], raw=True, stop=".", temperature=0.5))
for text in ("the cat and the dog.", "dog the and cat the."):
    print(text, "log π =", round(model.log_prob(text), 1))
