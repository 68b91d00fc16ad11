"""What `fledge align` comes to in worlds of text: agents of minutes, judged in games never seen."""

from __future__ import annotations

GAMES = 200  # of the test part, greedy
