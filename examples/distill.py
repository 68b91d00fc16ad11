"""Teach a smaller model what a larger one knows: the divergence of their next tokens falls."""

import fledge

words = ["cat", "dog", "sun", "moon", "tree", "bird", "fish", "rain", "star", "leaf"]
texts = [f"the {a} and the {b} saw a {c}." for a in words for b in words for c in words]

sizes = {"tokenizer": "bytes", "layers": 2, "width": 64, "heads": 4, "context": 64}
teacher = fledge.pretrain(texts, **sizes, tokens_per_step=1024, steps=40, learning_rate=5e-3)
student = fledge.distill(
    teacher, texts, kind="forward", layers=1, width=32, heads=2, steps=25, learning_rate=5e-3
)

print(teacher.model)
print(student.model)
print("before", student.summary["before"])
print("after ", student.summary["after"])
