"""What a training step of a language model costs, by formula: bytes held, bytes moved, operations,
seconds; known before a machine is there.
"""
