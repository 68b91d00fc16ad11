"""Names of data, with commas between and with weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from fledge.data_names import Source, list_named, split_names, split_sources
from fledge.errors import UserError


def test_weights_are_shares_and_what_exists_is_meant_by_its_whole_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b:2").write_text("x")
    (tmp_path / "c,d").write_text("x")
    assert split_sources("a, b:2") == [Source(("a", "b:2"), 1.0)]
    assert split_sources("a:3,code/:1") == [Source(("a",), 0.75), Source(("code/",), 0.25)]
    assert split_sources("a:.5,b:2:1.5") == [Source(("a",), 0.25), Source(("b:2",), 0.75)]
    assert split_sources("c,d") == [Source(("c,d",), 1.0)]
    assert split_sources("x:y,C:z") == [Source(("x:y", "C:z"), 1.0)]
    assert split_names("a:3,code/:1") == ["a", "code/"]
    assert split_names(" , ") == []


@pytest.mark.parametrize(
    ("given", "said"), [("a:1,b", "b has no weight"), ("a:1,b:0", "b has weight 0")]
)
def test_a_mixture_in_which_a_source_has_no_weight_is_refused(given: str, said: str) -> None:
    with pytest.raises(UserError, match=f"{said} in data={given}: "):
        split_sources(given)


def test_a_name_means_all_files_that_it_fits_else_the_one_that_is_called_so(
    tmp_path: Path,
) -> None:
    for name in ("rows-2.jsonl", "rows-1.jsonl", "rows-a.jsonl", "other.jsonl"):
        (tmp_path / name).write_text("x")
    (tmp_path / "rows-3.jsonl").mkdir()
    several = [tmp_path / "rows-1.jsonl", tmp_path / "rows-2.jsonl"]
    assert list_named(tmp_path / "rows-[0-9].jsonl") == several
    for name in ("other.jsonl", "none.jsonl", "none-*.jsonl"):
        assert list_named(str(tmp_path / name)) == [tmp_path / name]
    (tmp_path / "rows-[0-9].jsonl").write_text("x")  # which exists as it stands
    assert list_named(tmp_path / "rows-[0-9].jsonl") == [tmp_path / "rows-[0-9].jsonl"]
