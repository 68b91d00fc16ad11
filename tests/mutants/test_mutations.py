"""The faults that are planted: each reads as it should, compiles, has a name of its own, and
changes nothing else.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.mutations import mutants

PACKAGE = Path(__file__).parents[2] / "src" / "fledge"


def planted(source: str) -> set[str]:
    return {mutant.source for mutant in mutants("it.py", source)}


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("def f(a, b):\n    return a - b\n", "def f(a, b):\n    return (a + b)\n"),
        ("def f(a, b):\n    return -a\n", "def f(a, b):\n    return (a)\n"),
        ("def f(a, b):\n    return a < b\n", "def f(a, b):\n    return (a >= b)\n"),
        ("def f(a, b):\n    return a and not b\n", "def f(a, b):\n    return a and (b)\n"),
        ("def f(a, b):\n    return a.amin(0)\n", "def f(a, b):\n    return (a.amax(0))\n"),
        ("def f(a, b):\n    return kl(a, b)\n", "def f(a, b):\n    return (kl(b, a))\n"),
        (
            "def f(a, b):\n    return where(a, b, 0)\n",
            "def f(a, b):\n    return where(a, b, (1))\n",
        ),
        (
            "def f(a, b):\n    return a.clamp(max=b)\n",
            "def f(a, b):\n    return (a.clamp(min=b))\n",
        ),
        ("def f(a, b):\n    return a.logp.detach()\n", "def f(a, b):\n    return (a.logp)\n"),
        ("def f(a, b):\n    return a.terminated\n", "def f(a, b):\n    return (a.truncated)\n"),
        ("def f(a, b=0.5):\n    return a\n", "def f(a, b=(1.0)):\n    return a\n"),
        ("def f(a, b):\n    a.step(b)\n    return a\n", "def f(a, b):\n    pass\n    return a\n"),
        ("x = partial(f, high=0.28)\n", "x = partial(f, high=(0.56))\n"),
        ("class S:\n    low: float = 0.2\n", "class S:\n    low: float = (0.4)\n"),
    ],
)
def test_each_kind_of_fault(source: str, fault: str) -> None:
    assert fault in planted(source)


@pytest.mark.parametrize(
    "source",
    [
        'def f(a: int = None) -> "1 + 1":\n    """1 + 1"""\n    raise ValueError(f"{a + 1}")\n',
        "class P(Protocol):\n    def f(self, a=1): ...\n",
        "def f(figures, more):\n    return figures | more\n",
        "from a import b\n",
    ],
)
def test_what_is_no_arithmetic_is_left_alone(source: str) -> None:
    assert planted(source) == set()


@pytest.mark.parametrize("file", ["weigh.py", "algorithms/policy/ppo.py", "sample/replay.py"])
def test_every_fault_compiles_has_a_name_of_its_own_and_changes_its_place_alone(file: str) -> None:
    source = (PACKAGE / file).read_text()
    made = mutants(file, source)
    assert len(made) > 100
    assert len({mutant.name for mutant in made}) == len(made)
    before = source.splitlines()
    for mutant in made:
        compile(mutant.source, file, "exec")
        assert mutant.source != source
        after = mutant.source.splitlines()
        assert after[: mutant.line - 1] == before[: mutant.line - 1]
        # a default's body
        assert mutant.reach[0] <= mutant.line <= mutant.reach[1] or mutant.reach[0] > mutant.line
