"""What a model may call: a calculator, a memory, Python under limits."""
