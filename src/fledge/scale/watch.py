"""Who of the ranks is still there: each holds a connection to the first, which the kernel closes
when its process ends in any way. So a death is known at once, and no busy rank is taken for dead.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from fledge.errors import UserError
from fledge.scale.shadow import remove_shadow_folders

# Seconds that a process has to end by itself once another is lost: time to put down what it holds,
# less than anybody waits.
GRACE_S = 5.0
# Seconds until a machine that says nothing any more counts as lost.
SILENCE_S = 30


@dataclass
class Loss:
    """What is said of a rank that is there no more, by whom it has not been said yet."""

    sentence: str
    code: int


class Lost(UserError):
    """Another rank has ended, and with it this one's work."""

    def __init__(self, loss: Loss) -> None:
        super().__init__(loss.sentence)
        self.exit_code = loss.code


@dataclass
class Watch:
    """What both sides have. speaks: whether this process tells the user of a loss.

    The thread ends the process when the grace is over: one that hangs in a collective of a GPU ends
    by nothing else.
    """

    speaks: bool
    loss: Loss | None = None
    over: bool = False  # this process has done its work, or said why it cannot
    changed: threading.Condition = field(default_factory=threading.Condition)

    def explain_loss(self) -> None:
        """Called when a collective has failed: raises Lost if that was for a rank that is lost, of
        which the news may be a moment behind.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.loss is not None, GRACE_S)
        if self.loss is not None:
            raise Lost(self.loss)

    def end_in_order(self, number: int, frame: FrameType | None) -> None:
        """A launcher ends all processes when one has failed: the sentence about that one may be a
        moment behind the signal.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.loss is not None, 1.0)
        if self.loss is not None:
            raise Lost(self.loss)
        raise SystemExit(128 + number)

    def finish(self) -> None:
        """This process has done its work: that it ends is no loss."""
        raise NotImplementedError

    def fail(self, sentence: str, code: int) -> None:
        """Tell the others why this process ends."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def _lose(self, loss: Loss) -> None:
        """Called in the thread: the main one has a while to end in order."""
        with self.changed:
            if self.loss is not None:
                return
            self.loss = loss
            self.changed.notify_all()
        time.sleep(GRACE_S)
        if not self.over:
            if self.speaks:
                print(f"fledge: {loss.sentence}", file=sys.stderr, flush=True)
            remove_shadow_folders()
            os._exit(loss.code)


class FirstWatch(Watch):
    """Of rank 0, to which all others are connected."""

    def __init__(self, listener: socket.socket, world: int, word: str) -> None:
        """word: what whoever connects must know."""
        super().__init__(speaks=True)
        self.listener = listener
        self.others = _accept(listener, world, word)  # rank -> its connection
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        there = selectors.DefaultSelector()
        for rank, connection in self.others.items():
            there.register(connection, selectors.EVENT_READ, rank)
        while there.get_map():
            for key, _ in there.select():
                rank: int = key.data
                message = _read(self.others[rank])
                if message is None:  # still going on, or gone without a word
                    loss = Loss(_killed(rank), 1)
                elif "failed" in message:
                    loss = Loss(f"rank {rank}: {message['failed']}", int(message["code"]))
                else:
                    there.unregister(key.fileobj)
                    continue
                if self.over:
                    return
                self._tell(loss)
                self._lose(loss)
                return

    def _tell(self, loss: Loss) -> None:
        for connection in self.others.values():
            _send(connection, {"lost": loss.sentence, "code": loss.code})

    def finish(self) -> None:
        self.over = True
        for connection in self.others.values():
            _send(connection, {"over": True})

    def fail(self, sentence: str, code: int) -> None:
        self.over = True
        self._tell(Loss(sentence, code))

    def close(self) -> None:
        self.over = True
        for connection in (*self.others.values(), self.listener):
            connection.close()


class OtherWatch(Watch):
    """Of any other rank. If the first one is killed, rank 1 says so."""

    def __init__(self, rank: int, host: str, port: int, word: str) -> None:
        super().__init__(speaks=rank == 1)
        self.failed = False
        self.connection = socket.create_connection((host, port))
        _keep_alive(self.connection)
        _send(self.connection, {"rank": rank, "word": word})
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        message = _read(self.connection)
        if self.over or (message is not None and "over" in message):
            return
        if message is None:
            self._lose(Loss(_killed(0), 1))
        else:  # the first one says it
            self.speaks = False
            self._lose(Loss(message["lost"], int(message["code"])))

    def finish(self) -> None:
        self.over = True
        _send(self.connection, {"done": True})

    def fail(self, sentence: str, code: int) -> None:
        self.over = self.failed = True
        _send(self.connection, {"failed": sentence, "code": code})

    def close(self) -> None:
        """Where this process has failed the first one tells of it, and ends: until then it is not
        gone, or a launcher would end the first one before it has spoken.
        """
        self.over = True
        if self.failed:
            self.connection.settimeout(GRACE_S)
            while _read(self.connection) is not None:
                pass
        self.connection.close()


def open_listener() -> socket.socket:
    """On a free port of this machine."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _accept(listener: socket.socket, world: int, word: str) -> dict[int, socket.socket]:
    others: dict[int, socket.socket] = {}
    listener.settimeout(SILENCE_S)  # all have just met
    while len(others) < world - 1:
        connection, _ = listener.accept()
        connection.settimeout(SILENCE_S)
        hello = _read(connection)
        if hello is None or hello.get("word") != word:
            connection.close()
            continue
        connection.settimeout(None)
        _keep_alive(connection)
        others[int(hello["rank"])] = connection
    return others


def _killed(rank: int) -> str:
    return (
        f"rank {rank} has ended without a word: it was killed, its machine is gone, or its own "
        "output says why. What was saved is whole; `fledge resume` goes on from there, with any "
        "number of ranks."
    )


def _keep_alive(connection: socket.socket) -> None:
    """A machine that is gone closes nothing: the kernel asks after it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", SILENCE_S // 3), ("TCP_KEEPINTVL", SILENCE_S // 6)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_KEEPCNT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    with suppress(OSError):  # who is gone hears nothing
        connection.sendall(json.dumps(message).encode() + b"\n")


def _read(connection: socket.socket) -> dict[str, Any] | None:
    """The next line; None where the other side is gone, or says what nobody here does."""
    line = b""
    while not line.endswith(b"\n"):
        try:
            more = connection.recv(1)
        except OSError:
            return None
        if not more or len(line) > 100_000:
            return None
        line += more
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
