"""The verbs of the command line: where each lives, loaded only when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Verb:
    summary: str  # for `fledge --help`
    module: str
    config_name: str
    trains: bool = False  # its function takes a third argument, the run to continue
    bare: str | None = None  # the field that a word alone gives, as in `fledge resume runs/tune`
    several: bool = False  # it takes more than one such word

    @property
    def examples(self) -> tuple[str, ...]:
        """Two command lines a verb, as `--help` shows them."""
        return EXAMPLES[self.config_name]

    @property
    def config(self) -> Any:
        """The frozen pydantic model of its fields."""
        return getattr(importlib.import_module(self.module), self.config_name)

    def config_for(self, given: Mapping[str, Any]) -> Any:
        """With the fields of the algorithm that is given, where the verb lets one choose."""
        compose = getattr(self.config, "compose", None)
        return self.config if compose is None else compose(given)

    @property
    def function(self) -> Callable[..., dict[str, Any]]:
        name = "".join(
            "_" + c.lower() if c.isupper() else c for c in self.config_name.removesuffix("Config")
        ).lstrip("_")
        return getattr(importlib.import_module(self.module), name)


VERBS: dict[str, Verb] = {
    "demo": Verb(
        "the whole road: pre-train, tune, reward, align, report",
        "fledge.recipes.language.demo",
        "DemoConfig",
        True,
    ),
    "pretrain": Verb(
        "train a language model on raw text",
        "fledge.recipes.language.pretrain",
        "PretrainConfig",
        True,
    ),
    "tune": Verb(
        "tune a model on conversations or a task",
        "fledge.recipes.language.tune",
        "TuneConfig",
        True,
    ),
    "reward": Verb(
        "train a reward model on preferences",
        "fledge.recipes.language.reward",
        "RewardConfig",
        True,
    ),
    "prefer": Verb(
        "learn from preferences: dpo, ipo, simpo, orpo, kto",
        "fledge.recipes.language.prefer",
        "PreferConfig",
        True,
    ),
    "align": Verb(
        "learn from a reward: reinforce, ppo, grpo, em, …",
        "fledge.recipes.language.align",
        "AlignConfig",
        True,
    ),
    "distill": Verb(
        "teach a student what a teacher knows",
        "fledge.recipes.language.distill",
        "DistillConfig",
        True,
    ),
    "compare": Verb(
        "several kinds of language model on one text and one scale",
        "fledge.recipes.language.compare",
        "CompareConfig",
        True,
    ),
    "vectors": Verb(
        "a vector for each word of a text, and what is near what",
        "fledge.recipes.language.vectors",
        "VectorsConfig",
        True,
    ),
    "merge": Verb(
        "several models made into one: average, ties, slerp, soup",
        "fledge.recipes.language.merge",
        "MergeConfig",
        True,
        bare="models",
    ),
    "compress": Verb(
        "make a model smaller: int8, int4, pruning",
        "fledge.recipes.language.compress",
        "CompressConfig",
        True,
    ),
    "control": Verb(
        "train an agent in a world: ppo, dqn, …",
        "fledge.recipes.control.control",
        "ControlConfig",
        True,
    ),
    "solve": Verb(
        "a game with hidden information, such as poker: cfr, cfr_plus, mccfr",
        "fledge.recipes.control.solve",
        "SolveConfig",
        True,
        bare="game",
    ),
    "minds": Verb(
        "what somebody wants, believes and will do, out of what they did",
        "fledge.recipes.minds.minds",
        "MindsConfig",
        True,
        bare="scene",
    ),
    "selfplay": Verb(
        "learn a game by playing against itself: alphazero, …",
        "fledge.recipes.games.selfplay",
        "SelfplayConfig",
        True,
        bare="game",
    ),
    "fit": Verb(
        "infer what cannot be seen: mixtures, factors",
        "fledge.recipes.latent.fit",
        "FitConfig",
        True,
        bare="data",
    ),
    "imagine": Verb(
        "learn to make pictures: vae, diffusion, pixelcnn, gan, …",
        "fledge.recipes.images.imagine",
        "ImagineConfig",
        True,
        bare="data",
    ),
    "spell": Verb(
        "pictures as tokens between words, for a language model",
        "fledge.recipes.images.spell",
        "SpellConfig",
        bare="base",
    ),
    "draw": Verb(
        "pictures that a language model draws when it is asked to",
        "fledge.recipes.look.draw",
        "DrawConfig",
        bare="base",
    ),
    "play": Verb(
        "judge or film a trained agent, or play a game against one",
        "fledge.recipes.look.play",
        "PlayConfig",
        bare="run",
    ),
    "ladder": Verb(
        "one gridworld by every method, beside the exact answer",
        "fledge.recipes.control.ladder",
        "LadderConfig",
        bare="world",
    ),
    "ladder mixture": Verb(
        "one small mixture by every method, beside its exact posterior",
        "fledge.recipes.latent.ladder",
        "LadderMixtureConfig",
    ),
    "ladder density": Verb(
        "the same pictures by every model that has a density",
        "fledge.recipes.images.ladder",
        "LadderDensityConfig",
    ),
    "sample": Verb("complete a prompt", "fledge.recipes.look.sample", "SampleConfig", bare="base"),
    "label": Verb(
        "what an encoder says of a text: its label, its words' tags",
        "fledge.recipes.look.label",
        "LabelConfig",
        bare="run",
    ),
    "chat": Verb(
        "talk to a model in the terminal", "fledge.recipes.look.chat", "ChatConfig", bare="base"
    ),
    "serve": Verb(
        "models that answer: OpenAI's API, and a page to talk to them",
        "fledge.serve.verb",
        "ServeConfig",
        bare="base",
        several=True,
    ),
    "evaluate": Verb(
        "bits per byte, exact match on a task, published questions",
        "fledge.recipes.look.evaluate",
        "EvaluateConfig",
        bare="base",
    ),
    "ask": Verb(
        "answer questions by a prompting program, or by several side by side",
        "fledge.recipes.prompting.ask",
        "AskConfig",
        bare="base",
    ),
    "study": Verb(
        "what in a prompt matters: order, label_balance, label_coverage, random_labels",
        "fledge.recipes.prompting.study",
        "StudyConfig",
        bare="study",
    ),
    "query": Verb(
        "which labels, or which pairs, to ask for: margin, bald, core_set, … beside random",
        "fledge.recipes.studies.query",
        "QueryConfig",
        True,
        bare="data",
    ),
    "recall": Verb(
        "facts that no model was trained on, answered with and without a memory",
        "fledge.recipes.prompting.recall",
        "RecallConfig",
        bare="base",
    ),
    "verify": Verb(
        "check every estimator, or your own FILE, by enumeration",
        "fledge.recipes.studies.verify",
        "VerifyConfig",
        bare="file",
    ),
    "plan": Verb(
        "what a training step will take: memory, seconds, the best layout",
        "fledge.recipes.studies.plan",
        "PlanConfig",
        bare="model",
    ),
    "plan check": Verb(
        "hold such plans against what is counted and measured here",
        "fledge.recipes.studies.plan_check",
        "PlanCheckConfig",
    ),
    "plan table": Verb(
        "plans of 1 B to 405 B parameters, with the formula of each cell",
        "fledge.recipes.studies.plan_table",
        "PlanTableConfig",
    ),
    "continual": Verb(
        "tasks or texts learned in turn: what is forgotten, and what helps",
        "fledge.recipes.studies.continual",
        "ContinualConfig",
        True,
        bare="data",
    ),
    "data clean": Verb(
        "which documents a model should learn from, and why the others are dropped",
        "fledge.recipes.data.clean",
        "DataCleanConfig",
        True,
        bare="data",
    ),
    "data effect": Verb(
        "what a step of curation buys: models with and without it, in bits per byte",
        "fledge.recipes.data.effect",
        "DataEffectConfig",
        True,
        bare="data",
    ),
    "data languages": Verb(
        "profiles that tell languages apart, out of texts of each, for `data clean`",
        "fledge.recipes.data.languages",
        "DataLanguagesConfig",
        bare="data",
    ),
    "data mixture": Verb(
        "how much of each source to learn from, by small models on mixtures",
        "fledge.recipes.data.mixture",
        "DataMixtureConfig",
        True,
        bare="data",
    ),
    "data quality": Verb(
        "a classifier of good and plain text, from two sets of files, for `data clean`",
        "fledge.recipes.data.quality",
        "DataQualityConfig",
        True,
    ),
    "data show": Verb(
        "a page: what a cleaning kept and dropped, with examples",
        "fledge.recipes.data.show",
        "DataShowConfig",
        bare="run",
    ),
    "scale": Verb(
        "a scaling law of runs: which size a budget deserves",
        "fledge.recipes.studies.scale",
        "ScaleConfig",
        True,
        bare="data",
    ),
    "tokenizer train": Verb(
        "train a tokenizer", "fledge.recipes.language.tokenizer", "TokenizerTrainConfig"
    ),
    "tokenizer show": Verb(
        "show its merges and how it splits a text",
        "fledge.recipes.language.tokenizer",
        "TokenizerShowConfig",
        bare="tokenizer",
    ),
    "export": Verb(
        "a model for others: Hugging Face, PEFT, GGUF, Ollama",
        "fledge.recipes.look.export",
        "ExportConfig",
        bare="run",
    ),
    "show sampling": Verb(
        "a page: what temperature, top-k, nucleus, min-p do to a distribution",
        "fledge.recipes.look.show_sampling",
        "ShowSamplingConfig",
        bare="base",
    ),
    "show rope": Verb(
        "a page: how rotary positions turn, what theta changes",
        "fledge.recipes.look.show_rope",
        "ShowRopeConfig",
        bare="base",
    ),
    "show coordinates": Verb(
        "a page: what grows with the width in the first steps, with and without µP",
        "fledge.recipes.look.show_coordinates",
        "ShowCoordinatesConfig",
    ),
    "show attention": Verb(
        "a page: which token looks at which, by layer and head",
        "fledge.recipes.look.show_attention",
        "ShowAttentionConfig",
        bare="base",
    ),
    "show merges": Verb(
        "a page: byte-pair encoding learned on a text, step by step",
        "fledge.recipes.look.show_merges",
        "ShowMergesConfig",
    ),
    "runs": Verb(
        "list runs, with their lineage as a tree",
        "fledge.recipes.look.runs",
        "RunsConfig",
        bare="root",
    ),
    "report": Verb(
        "write a run's report.html", "fledge.recipes.look.report", "ReportConfig", bare="run"
    ),
    "completion": Verb(
        "complete verbs and fields in bash, zsh or fish",
        "fledge.cli.completion",
        "CompletionConfig",
        bare="shell",
    ),
    "resume": Verb(
        "continue a run that was stopped or killed", "fledge.cli.resume", "ResumeConfig", bare="run"
    ),
}

EXAMPLES: dict[str, tuple[str, ...]] = {
    "DemoConfig": ("fledge demo", "fledge demo seed=1 out=runs/road"),
    "PretrainConfig": (
        "fledge pretrain data=books/ model=mini steps=2000",
        "fledge pretrain data=more.txt base=runs/pretrain learning_rate=3e-4",
    ),
    "TuneConfig": (
        "fledge tune base=runs/pretrain data=chats.jsonl",
        "fledge tune base=runs/pretrain task=reverse evaluate_every=20",
        "fledge tune task=classify base=all-MiniLM-L6-v2/ data=reviews.csv",
    ),
    "RewardConfig": (
        "fledge reward base=runs/tune data=pairs.jsonl",
        "fledge reward base=runs/tune task=reverse pairs=2048",
        "fledge reward base=runs/tune demonstrations=shown.jsonl",
    ),
    "PreferConfig": (
        "fledge prefer base=runs/tune data=pairs.jsonl algorithm=ipo",
        "fledge prefer base=runs/tune data=thumbs.jsonl algorithm=kto",
    ),
    "AlignConfig": (
        "fledge align base=runs/tune task=reverse algorithm=grpo samples_per_prompt=8",
        "fledge align base=runs/tune task=./mine.py reward=runs/reward algorithm=ppo",
    ),
    "DistillConfig": (
        "fledge distill teacher=runs/align task=reverse layers=2",
        "fledge distill teacher=runs/tune data=chats.jsonl kind=reverse",
    ),
    "CompareConfig": (
        "fledge compare data=books/ models=ngram5,lstm,gru,decoder",
        "fledge compare models=ngram3,mingru,decoder model=mini steps=2000",
    ),
    "VectorsConfig": (
        "fledge vectors data=books/ model=skipgram dims=100 threads=2",
        "fledge vectors run=runs/vectors near=king",
    ),
    "MergeConfig": (
        "fledge merge runs/tune,runs/tune-2",
        "fledge merge runs/law,runs/code method=ties base=runs/pretrain",
    ),
    "CompressConfig": (
        "fledge compress base=runs/tune method=int4 data=chats.jsonl",
        "fledge compress base=runs/pretrain method=structured data=books/ sparsity=0.25",
    ),
    "ControlConfig": (
        "fledge control algorithm=ppo world=CartPole-v1 steps=100000",
        "fledge control algorithm=q_learning world=gridworld:map.txt",
        "fledge control algorithm=mpc world=CartPole-v1",
    ),
    "SolveConfig": (
        "fledge solve kuhn",
        "fledge solve leduc algorithm=cfr_plus stop_at_exploitability=0.001 steps=10000",
    ),
    "MindsConfig": (
        "fledge minds scene=food-trucks",
        "fledge minds scene=./mine.txt inference=particles particles=5000",
        "fledge minds scene=./mine.txt inference=amortised",
    ),
    "SelfplayConfig": (
        "fledge selfplay tictactoe",
        "fledge selfplay connect4 algorithm=alphazero steps=100 simulations=64",
    ),
    "FitConfig": (
        "fledge fit model=gmm data=points.csv k=8",
        "fledge fit points.csv model=gmm k=2..10 covariance=diagonal",
    ),
    "ImagineConfig": (
        "fledge imagine model=vae",
        "fledge imagine train-images-idx3-ubyte.gz model=vae binarise=hash latents=32",
        "fledge imagine model=mae",
        "fledge imagine film:gridworld model=next_frame",
    ),
    "SpellConfig": (
        "fledge spell runs/imagine out=spelled",
        "fledge spell base=runs/vq data=train-images-idx3-ubyte.gz out=spelled",
    ),
    "DrawConfig": (
        'fledge draw runs/tune pictures=spelled prompt="draw a seven" out=sevens.png',
        "fledge draw base=runs/align pictures=spelled samples=4",
    ),
    "PlayConfig": (
        "fledge play runs/control",
        "fledge play run=runs/control episodes=100 seed=1",
        "fledge play connect4 against=runs/selfplay",
    ),
    "LadderMixtureConfig": (
        "fledge ladder mixture",
        "fledge ladder mixture points=10 apart=2 out=mixture.html",
    ),
    "LadderDensityConfig": (
        "fledge ladder density",
        "fledge ladder density seconds=60 binarise=hash rungs=chow_liu,made,pixelcnn",
    ),
    "LadderConfig": ("fledge ladder gridworld", "fledge ladder gridworld seed=1"),
    "SampleConfig": (
        'fledge sample runs/align prompt="reverse: planet" samples=3',
        "fledge sample runs/align regex='[a-z]{6}' temperature=0",
    ),
    "LabelConfig": (
        'fledge label runs/tune text="a film of rare beauty"',
        "fledge label runs/tune data=reviews.csv out=labelled.jsonl",
    ),
    "ChatConfig": (
        "fledge chat runs/align",
        "fledge chat runs/align temperature=0 max_new_tokens=64",
    ),
    "ServeConfig": (
        "fledge serve runs/align",
        "fledge serve runs/tune runs/align port=8080 slots=32",
        "fledge serve runs/tune compare=pairs.jsonl votes=votes.jsonl",
    ),
    "EvaluateConfig": (
        "fledge evaluate runs/align task=reverse",
        "fledge evaluate runs/pretrain data=python",
        "fledge evaluate runs/tune suite=arc_easy data=ARC-Easy-Test.jsonl",
        "fledge evaluate runs/imagine",
    ),
    "AskConfig": (
        'fledge ask runs/align question="What is 17 times 4?" prompting=program_aided',
        "fledge ask runs/align data=gsm8k.jsonl prompting=zero_shot,few_shot_cot,react",
    ),
    "StudyConfig": (
        "fledge study order base=runs/align data=reviews.jsonl",
        "fledge study random_labels base=http://localhost:8000 data=reviews.jsonl",
    ),
    "QueryConfig": (
        "fledge query digits",
        "fledge query digits methods=margin,bald rounds=5 labels_per_round=20",
        "fledge query pairs.jsonl kind=pairs first=100 labels_per_round=100",
    ),
    "RecallConfig": (
        "fledge recall runs/align",
        "fledge recall runs/align facts=facts.jsonl others=1000",
    ),
    "VerifyConfig": (
        "fledge verify",
        "fledge verify examples/wrong_baseline.py",
        "fledge verify peer=trl:grpo loss_type=dr_grpo",
    ),
    "PlanConfig": (
        "fledge plan 8b card=h100 gpus=8",
        "fledge plan model=mini card=rtx4090 gpus=1 context=256 tokens_per_step=65536",
    ),
    "PlanCheckConfig": ("fledge plan check", "fledge plan check model=tiny counted=tiny"),
    "PlanTableConfig": ("fledge plan table",),
    "ContinualConfig": (
        "fledge continual digits methods=plain,ewc,rehearsal",
        "fledge continual data=law.txt,news.txt,code.txt seeds=2 steps=500",
    ),
    "DataCleanConfig": (
        "fledge data clean books/ out=clean",
        "fledge data clean web.jsonl rules=gopher,c4,fineweb against=questions.jsonl",
    ),
    "DataEffectConfig": (
        "fledge data effect step=dedup",
        "fledge data effect web.jsonl step=near",
        "fledge data effect web/ step=gopher seeds=5 steps=1000",
    ),
    "DataLanguagesConfig": (
        "fledge data languages texts.jsonl out=languages.json",
        "fledge data languages texts.jsonl languages=eng:en,deu:de,gsw",
    ),
    "DataMixtureConfig": (
        "fledge data mixture books/,code/,web.jsonl",
        "fledge data mixture books/,web.jsonl counts=2,1 seeds=5 steps=1000",
    ),
    "DataQualityConfig": ("fledge data quality good=wiki/ plain=web-sample.jsonl out=quality",),
    "DataShowConfig": ("fledge data show runs/data-clean documents=20",),
    "ScaleConfig": (
        "fledge scale points.csv budget=1e19",
        "fledge scale data=books/ minutes=40",
    ),
    "TokenizerTrainConfig": (
        "fledge tokenizer train data=books/ vocab_size=4096 out=tokenizer",
        "fledge tokenizer train data=python kind=characters out=letters",
    ),
    "TokenizerShowConfig": (
        'fledge tokenizer show tokenizer text="the cat"',
        'fledge tokenizer show runs/pretrain text="the cat"',
    ),
    "ExportConfig": (
        "fledge export runs/tune format=gguf weights=q8_0",
        "fledge export run=runs/tune format=merged out=for-others",
    ),
    "ShowSamplingConfig": (
        "fledge show sampling temperature=1.3 min_p=0.1",
        'fledge show sampling runs/align prompt="reverse: planet" top_k=20',
    ),
    "ShowRopeConfig": (
        "fledge show rope theta=10000 other_theta=500000",
        "fledge show rope runs/pretrain scaling=yarn factor=8",
    ),
    "ShowCoordinatesConfig": (
        "fledge show coordinates widths=64,128,256,512",
        "fledge show coordinates learning_rate=3e-3 steps=10",
    ),
    "ShowAttentionConfig": (
        'fledge show attention runs/pretrain text="the cat sat on the mat"',
        'fledge show attention runs/align text="reverse: planet" chat=true layer=1 head=2',
    ),
    "ShowMergesConfig": (
        'fledge show merges text="low lower lowest" merges=8 word=lowly',
        "fledge show merges tokenizer=runs/pretrain word=unbelievable",
    ),
    "RunsConfig": ("fledge runs", "fledge runs root=elsewhere"),
    "ReportConfig": ("fledge report runs/align", "fledge report run=runs/demo out=road.html"),
    "CompletionConfig": ("fledge completion bash", "fledge completion fish"),
    "ResumeConfig": ("fledge resume runs/align", "fledge resume run=runs/demo"),
}
