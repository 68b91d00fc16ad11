"""One thread: the tests are small, and a sum split over threads may come out in another order."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
