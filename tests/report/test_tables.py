"""Tables of words that a run lists in its summary."""

from __future__ import annotations

from fledge.report.tables import WordTable, read_tables


def test_tables_are_those_of_the_summary_in_words() -> None:
    listed = [{"title": "A", "note": "b", "columns": ["λ", "said"], "rows": [[0.5, "a dog"], []]}]
    assert read_tables({"tables": listed}) == [
        WordTable("A", "b", ["λ", "said"], [["0.5", "a dog"], []])
    ]


def test_a_run_without_tables_has_none() -> None:
    assert read_tables({}) == []
    assert read_tables({"tables": 3}) == []
