"""A command line as it is printed for a person to copy: every word quoted where a shell would break
it.

Whatever fledge proposes to run is written here, so that a folder with a space in its name is
proposed as one word.
"""

from __future__ import annotations

import shlex


def write_command(verb: str, *bare: object, instead: str = "", **fields: object) -> str:
    """`fledge VERB BARE field=value`, ready for a shell. instead: what may stand in the place of
    its last field, said in a comment that a shell passes over.
    """
    words = ["fledge", *verb.split(), *(shlex.quote(str(word)) for word in bare)]
    words += [f"{name}={shlex.quote(str(value))}" for name, value in fields.items()]
    return " ".join(words) + (f"   # or {instead}" if instead else "")
