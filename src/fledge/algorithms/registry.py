"""Every algorithm by name: one line each, with its settings in texts, on pairs of answers, in
worlds and on points of which something is not seen.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fledge.algorithms.images.arrow_of_time import ArrowOfTime
from fledge.algorithms.images.autoregression import (
    MADE,
    NADE,
    PixelCNN,
    PixelLSTM,
    PixelTransformer,
    WaveNet,
)
from fledge.algorithms.images.classifier import Classifier
from fledge.algorithms.images.colour_tracking import ColourTracking
from fledge.algorithms.images.colourisation import Colourisation
from fledge.algorithms.images.counting import ChowLiu, Histogram
from fledge.algorithms.images.diffusion import Diffusion
from fledge.algorithms.images.dino import DINO
from fledge.algorithms.images.domain_adversary import DomainAdversary
from fledge.algorithms.images.energy_gan import EnergyGAN
from fledge.algorithms.images.flow import Flow
from fledge.algorithms.images.frame_order import FrameOrder
from fledge.algorithms.images.gan import GAN
from fledge.algorithms.images.latent_diffusion import LatentDiffusion
from fledge.algorithms.images.mae import MAE
from fledge.algorithms.images.next_frame import NextFrame
from fledge.algorithms.images.programs import Programs
from fledge.algorithms.images.relative_position import RelativePosition
from fledge.algorithms.images.simclr import SimCLR
from fledge.algorithms.images.vae import VAE
from fledge.algorithms.images.vq import VQ
from fledge.algorithms.latent.baum_welch import BaumWelch
from fledge.algorithms.latent.black_box_vi import BlackBoxVI
from fledge.algorithms.latent.coordinate_ascent import CoordinateAscent
from fledge.algorithms.latent.discrete_em import BernoulliEM, DiscreteEM
from fledge.algorithms.latent.factor_em import FactorEM, PrincipalEM
from fledge.algorithms.latent.factor_mixture_em import FactorMixtureEM
from fledge.algorithms.latent.gaussian_em import GaussianEM
from fledge.algorithms.latent.kalman_em import KalmanEM
from fledge.algorithms.latent.kmeans import KMeans
from fledge.algorithms.latent.weak_supervision import WeakSupervision
from fledge.algorithms.likelihood.expectation_maximisation import (
    BEST_OF_N,
    REST_EM,
    STAR,
    ExpectationMaximisation,
)
from fledge.algorithms.likelihood.goal_cloning import GoalCloning
from fledge.algorithms.likelihood.imitation import CLONING, DAgger
from fledge.algorithms.likelihood.search_teacher import SearchTeacher
from fledge.algorithms.own import find_own_algorithm
from fledge.algorithms.policy.actor_critic import AdvantageActorCritic
from fledge.algorithms.policy.adversarial_imitation import AIRL, GAIL, AdversarialImitation
from fledge.algorithms.policy.alphazero import AlphaZero
from fledge.algorithms.policy.cispo import CISPO
from fledge.algorithms.policy.control_variate import ControlVariate
from fledge.algorithms.policy.grpo import DAPO, DR_GRPO, GRPO
from fledge.algorithms.policy.gspo import GSPO
from fledge.algorithms.policy.muzero import MuZero
from fledge.algorithms.policy.natural_gradient import NaturalGradient
from fledge.algorithms.policy.off_policy import OffPolicy
from fledge.algorithms.policy.ppo import PPO
from fledge.algorithms.policy.reinforce import RLOO, Reinforce
from fledge.algorithms.policy.reward_weighted import AWR, RewardWeighted
from fledge.algorithms.policy.trpo import TRPO
from fledge.algorithms.preference.dpo import DPO, IPO
from fledge.algorithms.preference.kto import KTO
from fledge.algorithms.preference.online_dpo import OnlineDPO
from fledge.algorithms.preference.orpo import ORPO
from fledge.algorithms.preference.simpo import SimPO
from fledge.algorithms.regret.cfr import CFR_PLUS, CounterfactualRegret
from fledge.algorithms.regret.external_sampling import ExternalSampling
from fledge.algorithms.settings import AlgorithmSettings
from fledge.algorithms.texts.text_diffusion import TextDiffusion
from fledge.algorithms.texts.text_vae import TextVAE
from fledge.algorithms.value.dqn import DQN
from fledge.algorithms.value.dreamer import Dreamer
from fledge.algorithms.value.dyna import Dyna
from fledge.algorithms.value.model_predictive import ModelPredictive
from fledge.algorithms.value.monte_carlo import MonteCarlo
from fledge.algorithms.value.posterior_sampling import PosteriorSampling
from fledge.algorithms.value.prioritised_sweeping import PrioritisedSweeping
from fledge.algorithms.value.soft_actor_critic import SoftActorCritic
from fledge.algorithms.value.tabular import EXPECTED_SARSA, Q_LEARNING, SARSA, Tabular
from fledge.algorithms.value.td3 import TD3
from fledge.errors import UserError

Subject = Literal["texts", "pairs", "worlds", "hidden", "latent", "images", "games"]


@dataclass(frozen=True)
class Entry:
    """What is built, and its settings under this name where it can be had: rewarded in texts, from
    pairs, in worlds, in games with hidden information, on points, on pictures, in games.
    """

    algorithm: Any
    texts: AlgorithmSettings | None = None
    pairs: AlgorithmSettings | None = None
    worlds: AlgorithmSettings | None = None
    hidden: AlgorithmSettings | None = None
    latent: AlgorithmSettings | None = None
    images: AlgorithmSettings | None = None
    games: AlgorithmSettings | None = None

    def settings(self, subject: Subject) -> AlgorithmSettings:
        """Raises ValueError where it is none of the subject's."""
        own: AlgorithmSettings | None = getattr(self, subject)
        if own is None:
            raise ValueError(f"{self.algorithm.__name__} is no algorithm of {subject}.")
        return own


REGISTRY: Mapping[str, Entry] = {
    "reinforce": Entry(Reinforce, texts=Reinforce.InTexts(), worlds=Reinforce.Settings()),
    "rloo": Entry(Reinforce, texts=RLOO),
    "ppo": Entry(
        PPO,
        texts=PPO.InTexts(update_kl=0.05),
        worlds=PPO.InWorlds(gamma=0.99, value_clip=None, epochs=10),
    ),
    "grpo": Entry(GRPO, texts=GRPO.Settings()),
    "dr_grpo": Entry(GRPO, texts=DR_GRPO),
    "dapo": Entry(GRPO, texts=DAPO),
    "gspo": Entry(GRPO, texts=GSPO),
    "cispo": Entry(GRPO, texts=CISPO),
    "off_policy": Entry(OffPolicy, texts=OffPolicy.Settings(), worlds=OffPolicy.Settings(epochs=4)),
    "control_variate": Entry(ControlVariate, texts=ControlVariate.Settings()),
    "rwr": Entry(RewardWeighted, texts=RewardWeighted.Settings()),
    "awr": Entry(RewardWeighted, texts=AWR),
    "em": Entry(ExpectationMaximisation, texts=ExpectationMaximisation.Settings()),
    "rest_em": Entry(ExpectationMaximisation, texts=REST_EM),
    "star": Entry(ExpectationMaximisation, texts=STAR),
    "best_of_n": Entry(ExpectationMaximisation, texts=BEST_OF_N),
    "search": Entry(SearchTeacher, texts=SearchTeacher.Settings()),
    "online_dpo": Entry(OnlineDPO, texts=OnlineDPO.Settings()),
    "dpo": Entry(DPO, pairs=DPO.Settings()),
    "ipo": Entry(DPO, pairs=IPO),
    "simpo": Entry(SimPO, pairs=SimPO.Settings()),
    "orpo": Entry(ORPO, pairs=ORPO.Settings()),
    "kto": Entry(KTO, pairs=KTO.Settings()),
    "a2c": Entry(AdvantageActorCritic, worlds=AdvantageActorCritic.Settings()),
    "async": Entry(AdvantageActorCritic, worlds=AdvantageActorCritic.Settings(truncate_at=1.0)),
    "actor_critic": Entry(
        AdvantageActorCritic, worlds=AdvantageActorCritic.Settings(gae_lambda=0.0)
    ),
    "natural": Entry(NaturalGradient, worlds=NaturalGradient.Settings(epochs=10)),
    "trpo": Entry(NaturalGradient, worlds=TRPO.replace(epochs=10)),
    "dqn": Entry(DQN, worlds=DQN.Settings(prioritised=True)),
    "sac": Entry(SoftActorCritic, worlds=SoftActorCritic.Settings()),
    "td3": Entry(TD3, worlds=TD3.Settings()),
    "q_learning": Entry(Tabular, worlds=Q_LEARNING),
    "sarsa": Entry(Tabular, worlds=SARSA),
    "expected_sarsa": Entry(Tabular, worlds=EXPECTED_SARSA),
    "monte_carlo": Entry(MonteCarlo, worlds=MonteCarlo.Settings()),
    "dyna": Entry(Dyna, worlds=Dyna.Settings()),
    "prioritised_sweeping": Entry(PrioritisedSweeping, worlds=PrioritisedSweeping.Settings()),
    "psrl": Entry(PosteriorSampling, worlds=PosteriorSampling.Settings()),
    "mpc": Entry(
        ModelPredictive,
        worlds=ModelPredictive.Settings(
            learning_starts=200, updates_per_step=50, rows_per_update=64
        ),
    ),
    "dreamer": Entry(
        Dreamer,
        worlds=Dreamer.Settings(learning_starts=300, updates_per_step=10, rows_per_update=16),
    ),
    "cloning": Entry(DAgger, worlds=CLONING),
    "dagger": Entry(DAgger, worlds=DAgger.Settings()),
    "gail": Entry(AdversarialImitation, worlds=GAIL),
    "airl": Entry(AdversarialImitation, worlds=AIRL),
    "goal_cloning": Entry(
        GoalCloning, worlds=GoalCloning.Settings(relabel="future", rows_per_update=256)
    ),
    "cfr": Entry(CounterfactualRegret, hidden=CounterfactualRegret.Settings()),
    "cfr_plus": Entry(CounterfactualRegret, hidden=CFR_PLUS),
    "mccfr": Entry(ExternalSampling, hidden=ExternalSampling.Settings()),
    "gmm": Entry(GaussianEM, latent=GaussianEM.Settings()),
    "bayes_gmm": Entry(CoordinateAscent, latent=CoordinateAscent.Settings(k="8")),
    "bbvi": Entry(BlackBoxVI, latent=BlackBoxVI.Settings()),
    "categorical": Entry(DiscreteEM, latent=DiscreteEM.Settings()),
    "bernoulli": Entry(BernoulliEM, latent=BernoulliEM.Settings()),
    "hmm": Entry(BaumWelch, latent=BaumWelch.Settings(k="2")),
    "kalman": Entry(KalmanEM, latent=KalmanEM.Settings()),
    "kmeans": Entry(KMeans, latent=KMeans.Settings()),
    "fa": Entry(FactorEM, latent=FactorEM.Settings()),
    "mfa": Entry(FactorMixtureEM, latent=FactorMixtureEM.Settings()),
    "ppca": Entry(PrincipalEM, latent=PrincipalEM.Settings()),
    "mae": Entry(MAE, images=MAE.Settings()),
    "relative_position": Entry(RelativePosition, images=RelativePosition.Settings()),
    "colourisation": Entry(Colourisation, images=Colourisation.Settings()),
    "frame_order": Entry(FrameOrder, images=FrameOrder.Settings()),
    "arrow_of_time": Entry(ArrowOfTime, images=ArrowOfTime.Settings()),
    "colour_tracking": Entry(ColourTracking, images=ColourTracking.Settings()),
    "simclr": Entry(SimCLR, images=SimCLR.Settings()),
    "next_frame": Entry(NextFrame, images=NextFrame.Settings()),
    "dino": Entry(DINO, images=DINO.Settings()),
    "programs": Entry(Programs, images=Programs.Settings()),
    "vae": Entry(VAE, images=VAE.Settings()),
    "gan": Entry(GAN, images=GAN.Settings()),
    "ebgan": Entry(EnergyGAN, images=EnergyGAN.Settings()),
    "classifier": Entry(Classifier, images=Classifier.Settings()),
    "dann": Entry(DomainAdversary, images=DomainAdversary.Settings()),
    "histogram": Entry(Histogram, images=Histogram.Settings()),
    "chow_liu": Entry(ChowLiu, images=ChowLiu.Settings()),
    "nade": Entry(NADE, images=NADE.Settings()),
    "made": Entry(MADE, images=MADE.Settings()),
    "wavenet": Entry(WaveNet, images=WaveNet.Settings()),
    "pixelcnn": Entry(PixelCNN, images=PixelCNN.Settings()),
    "pixel_lstm": Entry(PixelLSTM, images=PixelLSTM.Settings()),
    "pixel_transformer": Entry(PixelTransformer, images=PixelTransformer.Settings()),
    "diffusion": Entry(Diffusion, images=Diffusion.Settings()),
    "latent_diffusion": Entry(LatentDiffusion, images=LatentDiffusion.Settings()),
    "flow": Entry(Flow, images=Flow.Settings()),
    "vq": Entry(VQ, images=VQ.Settings()),
    "text_vae": Entry(TextVAE, images=TextVAE.Settings()),
    "text_diffusion": Entry(TextDiffusion, images=TextDiffusion.Settings()),
    "alphazero": Entry(AlphaZero, games=AlphaZero.Settings()),
    "muzero": Entry(MuZero, games=MuZero.Settings(rule="gumbel")),
    "weak": Entry(WeakSupervision, latent=WeakSupervision.Settings()),
}


def names_of(subject: Subject) -> tuple[str, ...]:
    return tuple(name for name, entry in REGISTRY.items() if getattr(entry, subject) is not None)


def find_entry(subject: Subject, name: str) -> Entry:
    """Of a name, or of FILE.py:Class. Raises UserError for one that there is not, or not here."""
    if ".py:" in name:
        own = find_own_algorithm(name)
        return Entry(own, *(own.settings for _ in get_args(Subject)))
    names = names_of(subject)
    if name in names:
        return REGISTRY[name]
    near = difflib.get_close_matches(name, names, 1)
    hint = f"perhaps you meant {near[0]}" if near else "give FILE.py:Class for one of your own"
    raise UserError(f"there is no algorithm {name}: {hint}. Known: {', '.join(names)}.")
