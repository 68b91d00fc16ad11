"""Who of the ranks is still there, in processes of their own: a death is known by the closed
connection, a mistake by its sentence.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fledge.errors import UserError
from fledge.scale.meeting import check_gpus, read_place
from fledge.scale.watch import FirstWatch, Lost, OtherWatch, open_listener

TORCHRUN = {
    "RANK": "2",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "node-0",
    "MASTER_PORT": "29500",
}


@contextmanager
def two_ranks(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[FirstWatch, OtherWatch, list[int]]]:
    """Rank 0 and rank 1, and the codes with which they would have ended this process."""
    codes: list[int] = []
    monkeypatch.setattr("fledge.scale.watch.GRACE_S", 0.5)
    monkeypatch.setattr("fledge.scale.watch.os._exit", codes.append)
    listener = open_listener()
    port = listener.getsockname()[1]
    made: list[FirstWatch] = []
    meeting = threading.Thread(target=lambda: made.append(FirstWatch(listener, 2, "word")))
    meeting.start()
    stranger = socket.create_connection(("localhost", port))
    stranger.sendall(b'{"rank": 1, "word": "no idea"}\n')
    other = OtherWatch(1, "localhost", port, "word")
    meeting.join()
    stranger.close()
    yield made[0], other, codes
    other.close()
    made[0].close()


def test_a_rank_that_is_gone_is_known_at_once_and_ends_a_process_that_hangs(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with two_ranks(monkeypatch) as (first, other, codes):
        other.connection.shutdown(socket.SHUT_RDWR)
        began = time.monotonic()
        with pytest.raises(Lost, match="rank 1 has ended without a word"):
            first.explain_loss()
        assert time.monotonic() - began < 0.4
        time.sleep(1)
        assert codes.count(1) >= 1  # it hung on, so it was ended
    assert capfd.readouterr().err.count("rank 1 has ended without a word") == 1


def test_a_mistake_is_told_by_the_first_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    with two_ranks(monkeypatch) as (first, other, codes):
        other.fail("there is no such file.", 2)
        with pytest.raises(Lost, match=r"^rank 1: there is no such file\.$") as caught:
            first.explain_loss()
        assert caught.value.exit_code == 2
        first.fail(str(caught.value), 2)
        time.sleep(1)
        assert codes == []  # both had said why


def test_a_rank_that_is_done_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    with two_ranks(monkeypatch) as (first, other, codes):
        other.finish()
        other.close()
        time.sleep(0.7)
        assert first.loss is None
        assert codes == []


def test_the_place_is_read_from_what_torchrun_says() -> None:
    place = read_place(TORCHRUN)
    assert (place.rank, place.world, place.local_rank, place.host) == (2, 4, 0, "node-0")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"MASTER_ADDR": ""}, "is set without MASTER_ADDR"),
        ({"RANK": "one"}, "must be whole numbers"),
        ({"RANK": "4"}, "RANK=4 is none of the 4 ranks"),
    ],
)
def test_an_environment_that_no_launcher_makes_is_told(change: dict[str, str], part: str) -> None:
    with pytest.raises(UserError, match=part):
        read_place(TORCHRUN | change)


def test_more_processes_than_gpus_are_told() -> None:
    check_gpus(7, 8)
    with pytest.raises(UserError, match="more than the 8 GPUs of this machine"):
        check_gpus(8, 8)
