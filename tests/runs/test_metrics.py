"""The log: every row that was written is there after any kill, and nothing that is not a row."""

from __future__ import annotations

import errno
import json
import math
import random
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.runs.metrics import Log, read_log


def test_rows_come_back_in_order(tmp_path: Path) -> None:
    log = Log(tmp_path / "metrics.jsonl")
    rows = [{"step": i, "loss": 1 / (i + 1), "text": "línea\n\u2028<|end|>"} for i in range(5)]
    for row in rows:
        log.write(row)
    assert list(read_log(log.path)) == rows
    assert log.path.read_bytes().count(b"\n") == 5


def test_nan_and_infinity_are_null_and_the_file_is_json(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.write({"loss": math.nan, "more": [math.inf, {"deep": -math.inf}], "fine": 1.5})
    row = json.loads(
        log.path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON")
    )
    assert row == {"loss": None, "more": [None, {"deep": None}], "fine": 1.5}


def test_a_torn_last_line_is_left_out_when_reading_and_cut_when_writing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n{"step": 3, "lo')
    assert list(read_log(path)) == [{"step": 1}, {"step": 2}]
    assert path.read_bytes().endswith(b'"lo')
    Log(path).write({"step": 3})
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n{"step": 3}\n'


def test_a_file_with_nothing_but_a_torn_line_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"step"')
    assert list(read_log(path)) == []
    assert Log(path).offset() == 0


def test_a_broken_line_in_the_middle_is_named_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(UserError, match="line 2 of"):
        list(read_log(tmp_path / "log"))


def test_a_log_is_read_a_row_at_a_time(tmp_path: Path) -> None:
    """20,000 rows are 8 MB as objects; read one by one they take what one takes, and so does
    opening the log to write.
    """
    with (tmp_path / "log").open("w") as file:
        for step in range(20_000):
            file.write(f'{{"step": {step}, "loss": 0.25, "reward": 1.5, "steps_taken": 32}}\n')
    log = Log(tmp_path / "log")
    next(log.each())  # what is made once, such as the checker of a row's shape
    tracemalloc.start()
    try:
        assert sum(row["steps_taken"] for row in log.each()) == 32 * 20_000
        log.write({"step": 20_000})
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()
    assert log.path.read_bytes().count(b"\n") == 20_001


def test_rewinding_forgets_exactly_the_later_rows(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.write({"step": 1})
    offset = log.offset()
    before = log.path.read_bytes()
    log.write({"step": 2})
    log.rewind(offset)
    assert log.path.read_bytes() == before
    log.write({"step": 2, "again": True})
    assert log.rows() == [{"step": 1}, {"step": 2, "again": True}]


@pytest.mark.parametrize("offset", [5, 10_000])
def test_rewinding_to_where_no_row_ends_is_refused(tmp_path: Path, offset: int) -> None:
    log = Log(tmp_path / "log")
    log.write({"step": 1})
    with pytest.raises(UserError, match="does not fit its checkpoint"):
        log.rewind(offset)
    assert log.rows() == [{"step": 1}]


def test_a_full_disk_leaves_whole_rows_and_no_half_one(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if (
        shutil.which("mount") is None
        or subprocess.run(command, capture_output=True, check=False).returncode != 0
    ):
        pytest.skip("mounting a small tmpfs is not permitted here")
    try:
        log = Log(disk / "log")
        written = 0

        def fill() -> None:
            nonlocal written
            while True:
                log.write({"step": written, "text": "x" * 1500})
                written += 1

        with pytest.raises(OSError) as raised:
            fill()
        assert raised.value.errno == errno.ENOSPC
        assert log.path.read_bytes().endswith(b"\n")
        assert [row["step"] for row in read_log(log.path)] == list(range(written))
        log.close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


WRITER = """
import sys
from pathlib import Path
from fledge.runs.metrics import Log, read_log
log = Log(Path(sys.argv[1]))
step = len(list(read_log(log.path)))
while True:
    log.write({"step": step, "text": "x" * (step % 5000)})
    print(step, flush=True)
    step += 1
"""


def test_every_row_said_to_be_written_survives_kill_9(tmp_path: Path) -> None:
    moments = random.Random(0)
    path = tmp_path / "metrics.jsonl"
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(moments.uniform(0, 0.05))
        writer.send_signal(signal.SIGKILL)
        said = [int(line) for line in [first, *writer.stdout.readlines()] if line.endswith("\n")]
        writer.wait()
        steps = [row["step"] for row in read_log(path)]
        assert steps == list(range(len(steps)))
        assert len(steps) in (said[-1] + 1, said[-1] + 2)
