"""The process in which a part of a corpus is encoded: reads parts, a JSON line each, writes their
files, and answers in JSON lines.

It is run as a file, `python -P shard_child.py`. Requests on standard input: first {"path",
"folder"}, where the tokenizer lies; then {"number", "part"}, answered by {"written"}, {"error"}
with a sentence, or {"system"} with what the operating system refused. It ends with its standard
input, at once: nothing is written any more for a run that is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started it
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests: SimpleQueue[dict[str, Any]] = SimpleQueue()
    Thread(target=listen, args=[requests], daemon=True).start()
    opening = requests.get()
    sys.path[:] = opening["path"]
    serve(Path(opening["folder"]), requests, answers)


def listen(requests: SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    os._exit(0)


def serve(folder: Path, requests: SimpleQueue[dict[str, Any]], answers: Any) -> None:
    from fledge.errors import UserError
    from fledge.text.corpus_part import CorpusPart
    from fledge.text.shard_writer import write_part
    from fledge.text.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(folder)
    while True:
        asked = requests.get()
        part = CorpusPart.from_json(asked["part"])
        try:
            answer = {"written": write_part(folder, asked["number"], part.split(), tokenizer)}
        except UserError as error:
            answer = {"error": str(error)}
        except OSError as error:
            answer = {"system": [error.errno, error.strerror, error.filename]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
