"""A Modelfile beside a GGUF file, by which Ollama takes it.

https://docs.ollama.com/modelfile
"""

from __future__ import annotations

from pathlib import Path

from fledge.runs.atomic import write_text
from fledge.text.tokenizer import SPECIAL, ForeignTokenizer, Tokenizer

# Ollama has templates of its own language. It knows most models' by their chat_template, and ours
# not.
_OURS = "<|begin|>{{ range .Messages }}<|{{ .Role }}|>{{ .Content }}<|end|>{{ end }}<|assistant|>"


def write_modelfile(gguf: Path, tokenizer: Tokenizer, context: int) -> Path:
    """Returns its path: NAME.Modelfile for NAME.gguf. Raises OSError."""
    lines = [f"FROM ./{gguf.name}", f"PARAMETER num_ctx {context}"]
    spelled = dict(enumerate(SPECIAL))
    if isinstance(tokenizer, ForeignTokenizer):
        spelled = {number: word for word, number in tokenizer.special_tokens.items()}
    else:
        lines.append(f'TEMPLATE """{_OURS}"""')
    ends = [spelled[end] for end in sorted(tokenizer.ends) if end in spelled]
    lines += [f'PARAMETER stop "{end}"' for end in ends]
    place = gguf.with_suffix(".Modelfile")
    write_text(place, "\n".join(lines) + "\n")
    return place
