"""Fields that were left open suit a large model, those that were given stay, and a small model
changes nothing.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fledge.recipes.language.align import AlignConfig
from fledge.recipes.language.distill import DistillConfig
from fledge.recipes.language.large_defaults import LargeDefaults
from fledge.recipes.language.prefer import PreferConfig
from fledge.recipes.language.reward import RewardConfig
from fledge.recipes.language.tune import TuneConfig
from fledge.recipes.training import LARGE

BASE = Path("base")
CONFIGS = [
    TuneConfig(base=BASE), RewardConfig(base=BASE), PreferConfig(base=BASE),
    AlignConfig(base=BASE, task="reverse"), DistillConfig(teacher=BASE),
]  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_small_model_changes_nothing_and_a_large_one_all_that_is_open(config: TuneConfig) -> None:
    large: LargeDefaults = type(config).large
    assert large.suit(config, LARGE - 1, adapted=False) is config
    suited = large.suit(config, LARGE, adapted=False).model_dump()
    wanted = dict(large.fields) | {"learning_rate": large.whole_rate}
    assert {name: suited[name] for name in wanted} == wanted
    changed = {name for name, value in config.model_dump().items() if suited[name] != value}
    assert changed <= wanted.keys()
    for name, value in wanted.items():
        assert name in type(config).model_fields
        assert f"{name}={value}" in large.describe() or name == "learning_rate"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_what_was_given_stays(config: TuneConfig) -> None:
    large: LargeDefaults = type(config).large
    given = {"learning_rate": 0.5} | dict.fromkeys(large.fields, 9)
    asked = {**config.model_dump(exclude_unset=True), **given}
    before = type(config).model_validate(asked)
    assert large.suit(before, 10**9, adapted=True) == before


def test_a_large_model_is_changed_gently() -> None:
    """Rates that are usual for models of 0.1 to 3 billion parameters."""
    adapted = {type(c): type(c).large.suit(c, 10**9, adapted=True) for c in CONFIGS[:-1]}
    assert 1e-4 <= adapted[TuneConfig].learning_rate <= 2e-4
    for config in (PreferConfig, AlignConfig):
        assert 1e-5 <= adapted[config].learning_rate <= 5e-5
    fresh = DistillConfig.large.suit(CONFIGS[-1], 10**9, adapted=False, fresh=True)
    assert fresh.learning_rate == CONFIGS[-1].learning_rate
    assert fresh.rows_per_step == 8
