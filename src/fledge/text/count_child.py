"""The process that counts n-grams in a part of a text: reads what it is asked, one JSON line on
standard input, and writes sorted runs into a folder; or a sentence about what it could not read or
write on standard output.

It is run as a file, `python -P count_child.py`, and ends with its standard input, at once: nothing
is written any more for a run that is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from threading import Thread
from typing import Any


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started it
    asked = json.loads(sys.stdin.readline())
    Thread(target=listen, daemon=True).start()
    sys.path[:] = asked["path"]
    from fledge.errors import UserError

    try:
        count(asked)
    except (UserError, OSError) as error:
        print(error, end="")
        sys.exit(1)


def listen() -> None:
    sys.stdin.read()
    os._exit(0)


def count(asked: dict[str, Any]) -> None:
    """The runs of the part from `begin` to `end`, into the folder `out`."""
    import numpy as np

    from fledge.text.ngram_passes import PIECE, list_keys, write_runs
    from fledge.text.shards import TokenStream

    stream = TokenStream(asked["folder"], asked["split"])
    tables = [np.load(file, mmap_mode="r") for file in asked["tables"]]
    begin, end, out = asked["begin"], asked["end"], Path(asked["out"])
    pieces = (stream[at : min(at + PIECE, end)] for at in range(begin, end, PIECE))
    tail = stream[max(0, begin - len(tables) - 1) : begin]
    out.mkdir()
    write_runs(list_keys(pieces, tables, asked["border"], tail), out, asked["run"], whole=True)


if __name__ == "__main__":
    main()
