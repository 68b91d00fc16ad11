"""The fields of a run whose answers an outside server samples, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, Field

from fledge.algorithms.settings import AlgorithmSettings
from fledge.engine.outside import OutsideEngine
from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.policy import TokenPolicy
from fledge.sample.served import Form, Reload, Served
from fledge.score.rollout_figures import DRIFT_BOUND


class ServerFields(BaseModel):
    """Where answers are sampled outside."""

    server: str | None = Field(
        default=None,
        description=(
            "URL of a vLLM or llama.cpp server that samples the answers; by default the run itself "
            "does"
        ),
    )
    served_model: str | None = Field(
        default=None, description="as the server calls it; by default the only one it serves"
    )
    reload: str | None = Field(
        default=None,
        description="command that makes the server read the weights in $WEIGHTS",
    )
    served_weights: Form = Field(
        default="hf",
        description="what $WEIGHTS is: a Hugging Face folder, or one GGUF file in float16",
    )
    staleness: int = Field(
        default=0,
        ge=0,
        description=(
            "optimizer steps that the server may be behind; further behind, sampling waits for a "
            "reload"
        ),
    )

    def check_server(self, settings: AlgorithmSettings, generation: str) -> None:
        """Raises UserError for fields that do not go together, before anything is computed."""
        if self.server is None:
            # By value: of a run that is resumed every field has been given.
            for name in ("reload", "served_model", "served_weights", "staleness"):
                if getattr(self, name) != ServerFields.model_fields[name].default:
                    raise UserError(
                        f"{name} was given without a server: give server=http://…, or leave it out."
                    )
            return
        if generation != "fp32":
            raise UserError(
                f"generation={generation} was given with server={self.server}, which generates in "
                "its own precision: leave it out."
            )
        if settings.sampling().of_base:
            if self.reload is not None:
                raise UserError(
                    "reload was given, and this algorithm learns from what the base says, whose "
                    "weights stay: leave it out."
                )
        elif self.reload is None:
            raise UserError(
                f"server={self.server} needs reload=COMMAND, which makes it read the weights in "
                "$WEIGHTS as they change: without it the samples would be another policy's."
            )
        if self.staleness and getattr(settings, "truncate_at", None) is None:
            raise UserError(
                f"staleness={self.staleness} lets an older policy sample: give truncate_at=2 with "
                "an algorithm of GRPO's family, whose importance weights correct for that, or "
                "staleness=0."
            )

    def make_served(
        self, policy: TokenPolicy, base: Loaded, folder: Path, say: Callable[[str], None]
    ) -> Served | None:
        """Who answers; None for this process. folder: of the run. Raises UserError where no server
        answers.
        """
        if self.server is None:
            return None
        sizes = base.network.config
        outside = OutsideEngine(
            self.server, self.served_model, vocab_size=sizes.vocab_size, context=sizes.context,
            # Of the distribution that is trained; where the server reports the model's own, its
            # first answers are too far off.
            logprobs="processed",
        )  # fmt: skip
        place = folder / "served" / ("model.gguf" if self.served_weights == "gguf" else "model")
        reload = None
        if self.reload is not None:
            reload = Reload(
                self.reload, self.served_weights, place, folder / "reload.log", self.staleness
            )
        return Served(outside, policy, base, reload, DRIFT_BOUND, say)
