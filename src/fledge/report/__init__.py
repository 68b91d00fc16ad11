"""The page about runs: charts, chapters, films, templates."""
