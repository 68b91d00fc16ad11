"""A corpus as token shards, encoded by several processes: each writes the files of one part after
another, and one index joins them. With any number of processes the files are the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from fledge.errors import UserError
from fledge.text import shard_child
from fledge.text.corpus import Corpus
from fledge.text.corpus_part import CorpusPart
from fledge.text.shard_writer import Written, clear, join_parts, write_part, write_shards
from fledge.text.tokenizer import Tokenizer

MOST = 8
"""Processes, by default: each holds some 100 MB."""


def write_corpus(
    folder: Path, corpus: Corpus, tokenizer: Tokenizer, processes: int | None = None
) -> None:
    """As `write_shards`, of all splits of a corpus. folder: holds the tokenizer.

    processes: by default one a core, and no more than there are parts. Raises UserError for a text
    that has no ids, for files that change meanwhile and for a process that is killed, OSError for
    what a disk refuses.
    """
    parts = corpus.parts()
    if len(parts) == 1:
        write_shards(folder, corpus.split(), tokenizer)
        return
    clear(folder)
    number = min(processes or min(MOST, os.cpu_count() or 1), len(parts))
    if number > 1:
        written = _encode_in_processes(folder, parts, number)
    else:
        written = [
            write_part(folder, place, part.split(), tokenizer) for place, part in enumerate(parts)
        ]
    corpus.check()
    join_parts(
        folder, tokenizer, [(part.source, each) for part, each in zip(parts, written, strict=True)]
    )


def _encode_in_processes(folder: Path, parts: list[CorpusPart], number: int) -> list[Written]:
    with _children(folder, number) as children, ThreadPoolExecutor(number) as threads:
        idle = list(children)

        def encode(place: int) -> Written:
            child = idle.pop()
            written = _ask(child, place, parts[place])
            idle.append(child)  # one that has failed is asked no more
            return written

        futures = [threads.submit(encode, place) for place in range(len(parts))]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            for child in children:  # whoever waits for an answer is woken
                child.kill()
            raise


@contextmanager
def _children(folder: Path, number: int) -> Iterator[list[subprocess.Popen[str]]]:
    # The tokenizers library would start as many threads as there are cores in each of them.
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-P", str(Path(shard_child.__file__))]
    children: list[subprocess.Popen[str]] = []
    try:
        for _ in range(number):
            child = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                encoding="utf-8",
            )  # fmt: skip
            children.append(child)
            _send(child, {"path": sys.path, "folder": str(folder)})
        yield children
    finally:
        for child in children:
            child.kill()
            child.communicate()


def _ask(child: subprocess.Popen[str], place: int, part: CorpusPart) -> Written:
    assert child.stdout is not None
    _send(child, {"number": place, "part": part.to_json()})
    line = child.stdout.readline()
    if not line:
        raise UserError(
            f"a process that encodes text ended with code {child.wait()}, out of memory perhaps: "
            "free some, then `fledge resume` the run."
        )
    answer = json.loads(line)
    if "error" in answer:
        raise UserError(answer["error"])
    if "system" in answer:
        raise OSError(*answer["system"])
    return answer["written"]


def _send(child: subprocess.Popen[str], said: object) -> None:
    assert child.stdin is not None
    try:
        child.stdin.write(json.dumps(said) + "\n")
        child.stdin.flush()
    except BrokenPipeError:
        return  # it has ended, which its silence says
