"""What a server counts, in Prometheus' text format.
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from fledge.serve.served import ServedModels

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """Of seconds, by model."""

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = {}
        self.sums: dict[str, float] = {}

    def observe(self, model: str, seconds: float) -> None:
        counts = self.counts.setdefault(model, [0] * (len(SECONDS) + 1))
        counts[bisect_left(SECONDS, seconds)] += 1
        self.sums[model] = self.sums.get(model, 0.0) + seconds

    def write(self, name: str, about: str) -> list[str]:
        lines = [f"# HELP {name} {about}", f"# TYPE {name} histogram"]
        for model, counts in self.counts.items():
            total, label = 0, f'model="{escape(model)}"'
            for bound, count in zip([*map(str, SECONDS), "+Inf"], counts, strict=True):
                total += count
                lines.append(f'{name}_bucket{{{label},le="{bound}"}} {total}')
            lines.append(f"{name}_sum{{{label}}} {self.sums[model]}")
            lines.append(f"{name}_count{{{label}}} {total}")
        return lines


class Metrics:
    """Belongs to the event loop. What is asked of a model is counted under its name."""

    def __init__(self) -> None:
        self.responses: Counter[tuple[str, int]] = Counter()  # by route and status
        self.prompt_tokens: Counter[str] = Counter()
        self.said_tokens: Counter[str] = Counter()
        self.ended: Counter[tuple[str, str]] = Counter()  # by model and how a row ended
        self.refused: Counter[str] = Counter()  # for a full queue
        self.first_token, self.whole = Histogram(), Histogram()

    def write(self, served: ServedModels) -> str:
        lines: list[str] = []

        def tell(name: str, kind: str, about: str, values: dict[str, float]) -> None:
            lines.extend((f"# HELP {name} {about}", f"# TYPE {name} {kind}"))
            lines.extend(f"{name}{{{labels}}} {value}" for labels, value in values.items())

        def by_model(counter: Counter[str]) -> dict[str, float]:
            return {f'model="{escape(name)}"': counter[name] for name in served.names}

        tell(
            "fledge_responses_total", "counter", "Answers by route and status.",
            {f'route="{route}",status="{s}"': n for (route, s), n in self.responses.items()},
        )  # fmt: skip
        tell(
            "fledge_prompt_tokens_total", "counter", "Tokens of prompts.",
            by_model(self.prompt_tokens),
        )  # fmt: skip
        tell("fledge_generated_tokens_total", "counter", "Tokens said.", by_model(self.said_tokens))
        tell(
            "fledge_completions_total", "counter", "Rows that have ended, and how.",
            {f'model="{escape(m)}",ended="{how}"': n for (m, how), n in self.ended.items()},
        )  # fmt: skip
        tell(
            "fledge_refused_total", "counter", "Requests refused since the queue was full.",
            by_model(self.refused),
        )  # fmt: skip
        for name, about, read in (
            ("fledge_rows_running", "Rows in slots.", lambda one: one.loop.running),
            ("fledge_rows_waiting", "Rows that wait for a slot.", lambda one: one.loop.waiting),
            ("fledge_slots", "Slots.", lambda one: one.loop.slots),
            (
                "fledge_cache_bytes",
                "Bytes of the KV cache.",
                lambda one: one.loop.engine.cache_bytes,
            ),
            ("fledge_engine_failures", "Engines started anew.", lambda one: one.loop.failures),
        ):
            values = {f'model="{escape(m)}"': read(one) for m, one in served.models.items()}
            tell(name, "gauge", about, values)
        lines += self.first_token.write("fledge_first_token_seconds", "Until the first token.")
        lines += self.whole.write("fledge_request_seconds", "Until the last token.")
        return "\n".join(lines) + "\n"


def escape(value: str) -> str:
    """A label's value."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
