"""What learns in a run of `fledge imagine`, where a policy is asked for."""

from __future__ import annotations

from typing import Any

from torch import nn


class Learns(nn.Module):
    """A model of pictures, or of sentences, as the network of a policy."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network
