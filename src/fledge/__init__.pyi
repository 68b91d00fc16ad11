"""What an editor knows of `fledge`; at run time each of these is loaded when it is used."""

from fledge.errors import Diverged as Diverged
from fledge.errors import UserError as UserError
from fledge.front.estimators import FactorAnalysis as FactorAnalysis
from fledge.front.estimators import GaussianMixture as GaussianMixture
from fledge.front.estimators import KMeans as KMeans
from fledge.front.given import Task as Task
from fledge.front.loading import load as load
from fledge.front.loading import load_agent as load_agent
from fledge.front.loading import load_reward_model as load_reward_model
from fledge.front.loading import open_run as open_run
from fledge.front.model import Model as Model
from fledge.front.reward_model import RewardModel as RewardModel
from fledge.front.trained_run import TrainedRun as TrainedRun
from fledge.front.verbs import align as align
from fledge.front.verbs import chat as chat
from fledge.front.verbs import control as control
from fledge.front.verbs import demo as demo
from fledge.front.verbs import distill as distill
from fledge.front.verbs import evaluate as evaluate
from fledge.front.verbs import export as export
from fledge.front.verbs import fit as fit
from fledge.front.verbs import ladder as ladder
from fledge.front.verbs import ladder_mixture as ladder_mixture
from fledge.front.verbs import play as play
from fledge.front.verbs import prefer as prefer
from fledge.front.verbs import pretrain as pretrain
from fledge.front.verbs import report as report
from fledge.front.verbs import resume as resume
from fledge.front.verbs import reward as reward
from fledge.front.verbs import runs as runs
from fledge.front.verbs import sample as sample
from fledge.front.verbs import show_attention as show_attention
from fledge.front.verbs import show_merges as show_merges
from fledge.front.verbs import show_rope as show_rope
from fledge.front.verbs import show_sampling as show_sampling
from fledge.front.verbs import show_tokenizer as show_tokenizer
from fledge.front.verbs import train_tokenizer as train_tokenizer
from fledge.front.verbs import tune as tune
from fledge.front.verbs import verify as verify
from fledge.loop import Interrupted as Interrupted
from fledge.recipes.control.agents import Agent as Agent
from fledge.text.tokenizer import Tokenizer as Tokenizer
from fledge.text.tokenizer import load_tokenizer as load_tokenizer

__version__: str
