"""A run in Python: its model, its figures, a picture of them, and the folder that holds it all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.front.encoder_model import EncoderModel
from fledge.front.model import Model
from fledge.front.picture import draw_figures
from fledge.front.reward_model import RewardModel
from fledge.hub.folder import (
    is_encoder,
    load_labeller,
    load_model,
    load_reward_model,
    tells_labels,
)
from fledge.hub.word_vectors import load_vectors
from fledge.models.control.strategy_table import StrategyTable, load_strategy
from fledge.models.images.picture_model import PictureModel, load_picture_model
from fledge.models.language.sentence_model import (
    SentenceModel,
    is_sentence_model,
    load_sentence_model,
)
from fledge.models.latent.latent_model import LatentModel, load_latent
from fledge.models.latent.word_classifier import WordClassifier
from fledge.recipes.control.agents import load_agent
from fledge.recipes.games.building import load_game_player
from fledge.recipes.latent.weak import CLASSIFIER
from fledge.report.figures import choose_headline, format_value, read_latest
from fledge.report.report import write_report
from fledge.runs.folder import Run
from fledge.runs.model_files import check_model, find_standing_model


class Metrics(list[dict[str, Any]]):
    """The rows of metrics.jsonl: the figures of a step each, evaluations in rows of their own."""

    def column(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of one figure, wherever it was logged. Raises UserError for one that never
        was.
        """
        pairs = [(row["step"], row[name]) for row in self if row.get(name) is not None]
        if not pairs:
            known = ", ".join(sorted({key for row in self for key in row} - {"step"}))
            raise UserError(f"there is no figure `{name}` here: there are {known or 'none'}.")
        return pairs

    def to_pandas(self) -> Any:
        """A pandas DataFrame, a row a step. Raises UserError where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise UserError(
                "to_pandas() needs pandas, which is not installed: pip install pandas, or read the "
                "rows as they are, a list of dicts."
            ) from None
        return pandas.DataFrame(list(self))


class TrainedRun:
    """What a verb that trains returns; `fledge.open_run` gives that of a folder.

    notes: the lines that the command line would have printed while it ran, one string.
    """

    def __init__(
        self, folder: Path, *, notes: str = "", given: Mapping[str, Any] | None = None
    ) -> None:
        """given: what was given as an object of Python's, by its field. Raises UserError where
        `folder` is no run.
        """
        self.folder, self.notes, self.given = folder, notes, dict(given or {})
        self._run = Run.open(folder)
        self._model: Any = None

    @property
    def verb(self) -> str:
        return self._run.verb

    @property
    def config(self) -> dict[str, Any]:
        """Every field with the value that it had."""
        return self._run.config

    @property
    def summary(self) -> dict[str, Any]:
        """What it came to: figures before and after, those of the test part. Raises UserError for a
        run that is not finished.
        """
        summary = self._run.summary
        if summary is None:
            raise UserError(
                f"{self.folder} is not finished, and has no summary yet: "
                f"fledge.resume({str(self.folder)!r}) finishes it."
            )
        return summary

    @property
    def metrics(self) -> Metrics:
        """The figures of every step so far."""
        return Metrics(self._run.metrics.rows())

    @property
    def samples(self) -> list[dict[str, Any]]:
        """What the model said in evaluations."""
        return self._run.samples.rows()

    @property
    def model(self) -> Any:
        """A `Model`, or an `EncoderModel`; of `control` the agent, of `reward` the reward model, of
        `fit` what was fitted, of `solve` the strategy, of `vectors` the vectors, of `imagine` the
        model of pictures, of `selfplay` who plays. Loaded when it is first asked for.
        """
        if self._model is None:
            if self.verb == "control":
                self._model = load_agent(self.folder, world=self.given.get("world"))
            elif self.verb == "solve":
                self._model = load_solved(self._run.model_folder)
            elif self.verb == "vectors":
                self._model = load_vectors(self.folder)
            elif self.verb == "imagine":
                self._model = load_imagined(self._run.model_folder)
            elif self.verb == "selfplay":
                self._model = load_game_player(self.folder)
            elif self.verb == "fit":
                self._model = load_fitted(self._run.model_folder)
            elif self.verb == "reward":
                self._model = RewardModel(*load_reward_model(self.folder))
            elif is_encoder(self.folder) or tells_labels(self.folder):
                self._model = EncoderModel(load_labeller(self.folder))
            else:
                self._model = Model(load_model(self.folder))
        return self._model

    @property
    def classifier(self) -> WordClassifier:
        """Of a run of `fit` with model=weak: what its soft labels taught, `.predict(texts)`. Raises
        UserError for any other.
        """
        return WordClassifier.load(self.folder / CLASSIFIER)

    def plot(self, *names: str) -> Any:
        """A picture of these figures over the steps, by default of those that matter most: a
        matplotlib Figure where that is installed, else an SVG that a notebook shows.
        """
        return draw_figures(self.metrics, names, f"{self.verb}: {self.folder}")

    def report(self, out: str | Path | None = None) -> Path:
        """Write its page, which opens in a browser without a network; where it lies."""
        return write_report(self.folder, None if out is None else Path(out))

    @property
    def headline(self) -> str:
        """The figure that matters most, in words; empty where nothing was judged yet."""
        figure = choose_headline(read_latest(self.metrics)[0])
        return f"{figure[0].replace('_', ' ')} {format_value(*figure)}" if figure else ""

    def __repr__(self) -> str:
        steps = self.summary.get("steps") if self._run.finished else None
        said = [
            self.verb,
            f"{steps:,} steps" if steps is not None else "" if self._run.finished else "unfinished",
            self.headline.replace("\u00a0", " "),
            str(self.folder),
        ]
        return f"TrainedRun({', '.join(filter(None, said))})"


def load_imagined(folder: Path) -> PictureModel | SentenceModel:
    """The model of a run of `fledge imagine`.  Raises UserError where it is none, or damaged."""
    folder = find_standing_model(folder)
    check_model(folder)
    if is_sentence_model(folder):
        return load_sentence_model(folder)
    return load_picture_model(folder)


def load_solved(folder: Path) -> StrategyTable:
    """The strategy of a run of `fledge solve`.  Raises UserError where it is none, or damaged."""
    folder = find_standing_model(folder)
    check_model(folder)
    return load_strategy(folder)


def load_fitted(folder: Path) -> LatentModel:
    """The model of a run of `fledge fit`.  Raises UserError where it is none, or damaged."""
    folder = find_standing_model(folder)
    check_model(folder)
    return load_latent(folder)[0]
