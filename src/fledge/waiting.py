"""How the threads of a product wait for each other: asleep, so that beside other programs none of
them uses up a processor that the one it waits for would need.
"""

from __future__ import annotations

import os
import sys

# Turns of a spinning thread before it sleeps, some 60 µs on an Intel processor: as many as libgomp
# itself takes under OMP_WAIT_POLICY=active where there are more threads than processors. Its usual
# 300,000 are 20 ms: longer than the operating system lets a neighbour run, so that two threads
# beside one lost nine tenths.
TURNS = "1000"
SETS_WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")


def wait_asleep() -> None:
    """For libgomp, by which torch computes on Linux. It reads the environment as it is loaded:
    after torch was imported nothing can be said to it. What the user has said stands.
    """
    if "torch" in sys.modules or any(name in os.environ for name in SETS_WAITING):
        return
    os.environ["GOMP_SPINCOUNT"] = TURNS


def describe_waiting() -> dict[str, str]:
    """What was said of it, by the name of the variable; nothing where threads wait as they do by
    themselves.
    """
    return {name: os.environ[name] for name in SETS_WAITING if name in os.environ}
