"""What every test stands on: one thread unless FLEDGE_TEST_THREADS says two, and a Ctrl-C that is
heard.

The tests are small; that they hold where sums are split over threads is `make processors`. A shell
starts background jobs with SIGINT ignored, and their children inherit it: the tests of signals
would wait for nothing.
"""

from __future__ import annotations

import os
import signal

import torch
from hypothesis import settings

# a test that waits for its turn on a busy machine is not wrong
settings.register_profile("fledge", deadline=None)
settings.load_profile("fledge")
torch.set_num_threads(int(os.environ.get("FLEDGE_TEST_THREADS", "1")))
signal.signal(signal.SIGINT, signal.default_int_handler)
