"""The machine that a plan is for: common GPUs by name, as their makers publish them, and how they
are joined.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from fledge.errors import UserError

GIGA, TERA = 10**9, 10**12


@dataclass(frozen=True)
class Machine:
    """memory, in bytes, and peak FLOP/s are of one GPU, without sparsity. memory_rate: of its own
    memory, link: to the others of its node, network: to those of other nodes; bytes a second in one
    direction.
    """

    name: str
    memory: float
    peak: dict[str, float]  # by precision
    memory_rate: float
    link: float
    network: float
    per_node: int = 8

    def rate_between(self, spread: int) -> float:
        """Of a group of ranks that spans so many neighbouring GPUs: its slowest link decides."""
        return self.link if spread <= self.per_node else self.network


def _card(
    name: str, giga: float, bf16: float, fp32: float, memory: float, link: float, network: float
) -> Machine:
    """giga: of memory. bf16, fp32: TFLOP/s. memory, link, network: GB/s."""
    peak = {"bf16": bf16 * TERA, "fp32": fp32 * TERA}
    return Machine(name, giga * GIGA, peak, memory * GIGA, link * GIGA, network * GIGA)


# From the makers' data sheets: dense products, half of what NVLink and PCIe have in both directions
# together; the network as in the maker's own node (one card of 200 or 400 Gbit/s a GPU), 25 Gbit/s
# where there is none. NVIDIA: A10, A100 80GB SXM, L40S, H100 SXM, H200 SXM, HGX B200, RTX 4090;
# AMD: Instinct MI300X.
CARDS = {
    card.name: card
    for card in (
        _card("a10", 24, 125, 31.2, 600, 32, 3.1),
        _card("rtx4090", 24, 165, 82.6, 1008, 32, 3.1),
        _card("l40s", 48, 362, 91.6, 864, 32, 3.1),
        _card("a100", 80, 312, 19.5, 2039, 300, 25),
        _card("h100", 80, 989, 67, 3350, 450, 50),
        _card("h200", 141, 989, 67, 4800, 450, 50),
        _card("b200", 180, 2250, 80, 7700, 900, 50),
        _card("mi300x", 192, 1307, 163, 5300, 448, 50),
    )
}


def find_card(name: str) -> Machine:
    """Raises UserError for a card that is none of the list."""
    if name in CARDS:
        return CARDS[name]
    near = difflib.get_close_matches(name.lower(), CARDS, n=1)
    hint = f"perhaps you meant {near[0]}" if near else "give the nearest of them"
    raise UserError(
        f"card={name} is none of {', '.join(CARDS)}: {hint}, and what differs as memory_gb, "
        "peak_tflops, link_gb_s and network_gb_s."
    )
