"""Every verb of the command line as a function: keyword arguments are its fields.

`fledge.align(model, task="reverse", steps=50)` does what `fledge align base=… task=reverse
steps=50` does. Where a field takes a file, rows may be given as a list of dicts, running text as a
list of strings; where it takes a run or a model folder, a `Model` or a `TrainedRun`. Nothing is
printed unless verbose=True. `fledge VERB --help` says what each field means, `help(fledge.align)`
names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fledge.front.encoder_model import EncoderModel
    from fledge.front.given import Task
    from fledge.front.model import Model
    from fledge.front.reward_model import RewardModel
    from fledge.front.trained_run import TrainedRun
    from fledge.text.tokenizer import Tokenizer

    Folder = str | Path
    Speaks = Folder | Model | TrainedRun
    Learns = Speaks | EncoderModel
    Rows = Folder | Iterable[Any]  # dicts, or a DataFrame
    Texts = Folder | Sequence[str]
    Prompts = Folder | Sequence[str | Mapping[str, Any]]
    Reward = Callable[..., Any]
    TaskLike = str | Rows | Task


def pretrain(data: Texts = "python", *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """Train a language model on raw text, a file, a folder or a list of strings, by next-token
    likelihood: −Σ_t log π(x_t | x_<t), the mean over the tokens of a step.

    fields: as of `fledge pretrain`, such as model="mini", steps=2000, tokenizer="bytes".
    """
    return run_verb("pretrain", {"data": data, **fields}, verbose)


def compare(data: Texts | None = None, *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """Train language models of several kinds on the same text, each a run of its own inside of this
    one: models="ngram5,lstm,gru,decoder", in bits per byte.

    data: texts, or the name of a file or folder.
    """
    return run_verb("compare", {**_given(data=data), **fields}, verbose)


def vectors(
    data: Texts | None = None, *, verbose: bool = False, **fields: Any
) -> TrainedRun | dict[str, Any]:
    """Learn a vector for each word of a text: model="skipgram", "cbow" or "glove"; the run's
    `.model` has near_word(word), complete(a, b, c), similarity(a, b).

    Without data: ask vectors that are there, as run="runs/vectors", near="king"; the answer is a
    dict.
    """
    if data is None:
        return look_by_verb("vectors", fields, verbose)
    return run_verb("vectors", {"data": data, **fields}, verbose)


def tune(
    base: Learns, data: Rows | None = None, *, verbose: bool = False, **fields: Any
) -> TrainedRun:
    """Tune a model on conversations: −log π of the assistant's tokens and of the token that ends
    them, nothing else; with task="classify", pair, tag, choose or embed an encoder on rows of such.

    data: {"prompt", "completion"}, {"messages"}, … a row; or task="reverse" in its place.
    """
    return run_verb("tune", {"base": base, **_given(data=data), **fields}, verbose)


def reward(
    base: Speaks, data: Rows | None = None, *, verbose: bool = False, **fields: Any
) -> TrainedRun:
    """Train a reward model on preferences: −log σ(r(x, chosen) − r(x, rejected)).

    data: {"prompt", "chosen", "rejected"} a row.
    """
    return run_verb("reward", {"base": base, **_given(data=data), **fields}, verbose)


def prefer(
    base: Speaks, data: Rows | None = None, *, verbose: bool = False, **fields: Any
) -> TrainedRun:
    """Learn from preferences without a reward model; by default DPO, −log σ(β (Δ log π − Δ log
    π_base)), where Δ is chosen minus rejected.

    data: {"prompt", "chosen", "rejected"} a row; for algorithm="kto" also {"prompt", "completion",
    "label"}.
    """
    return run_verb("prefer", {"base": base, **_given(data=data), **fields}, verbose)


def distill(
    teacher: Speaks,
    data: Rows | Texts | None = None,
    *,
    verbose: bool = False,
    **fields: Any,
) -> TrainedRun:
    """Teach a student what a teacher knows: KL(teacher ‖ student) at every token, or another
    divergence (`kind`).

    data: rows of conversations or running text; or task= in its place.
    """
    return run_verb("distill", {"teacher": teacher, **_given(data=data), **fields}, verbose)


def compress(
    base: Speaks, data: Rows | Texts | None = None, *, verbose: bool = False, **fields: Any
) -> TrainedRun:
    """Make a smaller model of a model, and measure what it lost: method="int8", "int4" (GPTQ where
    data is given), "magnitude" or "structured".

    data: rows of conversations or running text, to calibrate with and to measure on.
    """
    return run_verb("compress", {"base": base, **_given(data=data), **fields}, verbose)


def align(
    base: Speaks,
    *,
    prompts: Prompts | None = None,
    reward: Reward | Folder | RewardModel | TrainedRun | None = None,
    task: TaskLike | None = None,
    verbose: bool = False,
    **fields: Any,
) -> TrainedRun:
    """Learn from a reward: sample answers, score them, and make the better ones likelier;
    maximises E[r(x, y)] − β KL(π ‖ π_base).

    prompts with a function reward(prompt, completion) -> number (or a pair with whether it is
    right; with a parameter `answer` it is given the row's); prompts with answers; or a task. With
    a task, `reward` may be a reward model. algorithm="grpo", clip_low=1e-4: its settings are fields
    too.
    """
    given = _given(prompts=prompts, reward=reward, task=task)
    return run_verb("align", {"base": base, **given, **fields}, verbose)


def control(world: Any = "CartPole-v1", *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """Train an agent: maximises E[Σ_t γ^t r_t] in a world.

    world: its name; or an environment of gymnasium of your own, its class or what makes one.
    """
    return run_verb("control", {"world": world, **fields}, verbose)


def solve(game: str = "kuhn", *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """Find an equilibrium of a game in which something is hidden, by counterfactual regret.

    game: kuhn, leduc, spiel:NAME, ./mine.py:Game. fields: as of `fledge solve`, such as
    algorithm="mccfr", steps=1000. The run's `.model` has ask(player, what it knows).
    """
    return run_verb("solve", {"game": game, **fields}, verbose)


def minds(scene: str = "food-trucks", *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """Infer what somebody wants and believes out of what they did: P(mind | actions) ∝ P(actions |
    mind) P(mind).

    scene: one of fledge's, or a text file. fields: as of `fledge minds`, such as
    inference="particles". The run's `.summary` has the posterior.
    """
    return run_verb("minds", {"scene": scene, **fields}, verbose)


def selfplay(game: str = "connect4", *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """Learn a game of two players from games against oneself: a tree search teaches the network
    that it asks, −Σ π log p + (z − v)².

    game: "tictactoe", "connect4", "connect4:5x4", "othello" or "dice". The run's `.model` has
    think(position): visits, values, the move.
    """
    return run_verb("selfplay", {"game": game, **fields}, verbose)


def fit(data: Any, *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """Infer what cannot be seen: raises E_q[log p(x, z)] + H(q) ≤ log p(x) at every step.

    data: a file of points, an array [N, D], or a DataFrame. fields: as of `fledge fit`, such as
    model="gmm", k=8. The run's `.model` has log_prob(x), responsibility(x), sample(points, …).
    """
    return run_verb("fit", {"data": data, **fields}, verbose)


def imagine(data: Any = "digits", *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """Learn to make what the data is like. The run's `.model` has sample(count, generator) and,
    where it has a density, nats(rows, generator).

    data: "digits", a file or folder of pictures, or an array [N, H, W] or [N, H, W, C] of bytes or
    of numbers from 0 to 1. fields: as of `fledge imagine`, such as model="vae", steps=2000.
    """
    return run_verb("imagine", {"data": data, **fields}, verbose)


def spell(base: Folder | TrainedRun, *, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """Write labelled pictures as tokens between words, for a language model to learn.

    base: a run of `fledge.imagine(model="vq")`. fields: as of `fledge spell`, such as
    out="spelled".
    """
    return look_by_verb("spell", {"base": base, **fields}, verbose)


def draw(base: Speaks, pictures: Folder, *, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """Ask a language model for pictures, onto a sheet; how a reader reads them.

    pictures: the folder of `fledge.spell` whose tokens it writes. fields: as of `fledge draw`, such
    as prompt="draw a seven", out="sevens.png".
    """
    return look_by_verb("draw", {"base": base, "pictures": pictures, **fields}, verbose)


def demo(*, verbose: bool = False, **fields: Any) -> TrainedRun:
    """The whole road in minutes: pre-train, tune, reward, align twice, report."""
    return run_verb("demo", fields, verbose)


def resume(
    run: Folder | TrainedRun,
    *,
    reward: Reward | None = None,
    world: Any = None,
    verbose: bool = False,
    **fields: Any,
) -> TrainedRun:
    """Continue a run that was stopped or killed: it ends with the same bits as if it never had
    been.

    reward, world: what the run was given as an object of Python's, given again.
    """
    from fledge.front.resumed import resume_run

    return resume_run(run, reward=reward, world=world, verbose=verbose, fields=fields)


def train_tokenizer(
    data: Texts = "python", *, out: Folder = "tokenizer", verbose: bool = False, **fields: Any
) -> Tokenizer:
    """Train a tokenizer on text, write it into `out`, and give it: `.encode(text)`, `.decode(ids)`.

    fields: as of `fledge tokenizer train`, such as kind="bpe", vocab_size=512.
    """
    from fledge.text.tokenizer import load_tokenizer

    look_by_verb("tokenizer train", {"data": data, "out": str(out), **fields}, verbose)
    return load_tokenizer(out)


def show_tokenizer(tokenizer: Any, text: str = "", *, verbose: bool = False) -> dict[str, Any]:
    """The merges that a tokenizer has learned, and how it splits a text."""
    return look_by_verb("tokenizer show", {"tokenizer": tokenizer, "text": text}, verbose)


def sample(
    base: Speaks, prompt: str = "", *, verbose: bool = False, **fields: Any
) -> dict[str, Any]:
    """Complete a prompt; each completion with its log-probabilities. For the text alone:
    `fledge.load(base).generate(prompt)`. Of a model of pictures a sheet of them, out="samples.png".
    """
    given = {"base": base, **({"prompt": prompt} if prompt else {}), **fields}
    return look_by_verb("sample", given, verbose)


def label(
    run: Folder | TrainedRun,
    text: str | None = None,
    *,
    data: Folder | None = None,
    verbose: bool = False,
    **fields: Any,
) -> dict[str, Any]:
    """What an encoder that was taught to label says of a text, or of the rows of a file: labels
    with how likely they are, a tag for each word, or which of several choices is right.
    """
    given = {"run": run, **_given(text=text, data=data), **fields}
    return look_by_verb("label", given, verbose)


def chat(base: Speaks, **fields: Any) -> dict[str, Any]:
    """Talk to a model in the terminal, line by line. In code: `fledge.load(base).chat([…])`."""
    return look_by_verb("chat", {"base": base, **fields}, True)


def evaluate(
    base: Learns,
    *,
    data: Texts | None = None,
    task: TaskLike | None = None,
    verbose: bool = False,
    **fields: Any,
) -> dict[str, Any]:
    """Measure a model: bits per byte on text, −Σ log₂ π / bytes; exact match and score on a task's
    test prompts.

    task: a name, a file, a list of {"prompt", "answer"}, or fledge.Task(prompts, reward).
    """
    given = {"base": base, **_given(data=data, task=task), **fields}
    return look_by_verb("evaluate", given, verbose)


def ask(
    base: Speaks, question: str | None = None, *, verbose: bool = False, **fields: Any
) -> dict[str, Any]:
    """Answer a question, or a file of them with data=, by a prompting program: prompting="react",
    or several with commas between, side by side. base: a model, or the URL of an endpoint.
    """
    return look_by_verb("ask", {"base": base, **_given(question=question), **fields}, verbose)


def study(study: str, base: Speaks, data: Folder, *, verbose: bool = False, **fields: Any) -> Any:
    """What in a prompt of labelled examples matters to a model: "order", "label_balance",
    "label_coverage", "random_labels", or "all"; writes study.html.
    """
    given = {"study": study, "base": base, "data": data, **fields}
    return look_by_verb("study", given, verbose)


def query(data: str | Path = "digits", *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """Label pictures a few at a time, by several ways of choosing which, beside choosing at random.

    data: labelled pictures. fields: as of `fledge query`, such as methods="margin,bald". The run's
    `.summary` has the curves and paired differences.
    """
    return run_verb("query", {"data": data, **fields}, verbose)


def recall(base: Speaks, *, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """Facts that no model was trained on, answered without a memory, with one, and with one that
    holds 10,000 others.
    """
    return look_by_verb("recall", {"base": base, **fields}, verbose)


def play(
    run: Folder | TrainedRun, *, world: Any = None, verbose: bool = False, **fields: Any
) -> dict[str, Any]:
    """Play fresh episodes with a run's agent: what it earns, with an interval. Or a game by its
    name: fledge.play("connect4", by="uct", against=RUN, games=20) has two players meet.

    world: where the run's was an object of Python's, that object again.
    """
    from fledge.front.trained_run import TrainedRun
    from fledge.recipes.look.play import play as played

    if world is None and isinstance(run, TrainedRun):
        world = run.given.get("world")
    return look_by_verb("play", {"run": run, **fields}, verbose, partial(played, world=world))


def ladder(world: Folder = "gridworld", *, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """One gridworld by every method, each beside the exact answer; writes ladder.html."""
    return look_by_verb("ladder", {"world": str(world), **fields}, verbose)


def ladder_mixture(*, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """One small mixture by every method, each with its distance to the exact posterior; writes
    ladder.html.
    """
    return look_by_verb("ladder mixture", fields, verbose)


def ladder_density(*, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """The same pictures by every model that has a density, each for the same seconds; writes
    ladder.html.
    """
    return look_by_verb("ladder density", fields, verbose)


def verify(file: Folder | None = None, *, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """Is an estimator's expected gradient the true one, Σ_y π(y) ∇ log π(y) r(y)? Summed over all
    that could be sampled. `holds` says whether every claim does; writes verify.html.

    file: a .py of your own with classes or a loss; by default everything in the package.
    """
    return look_by_verb("verify", {**_given(file=file), **fields}, verbose)


def plan(model: Folder = "8b", *, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """What a training step will take of a machine that is not there yet: bytes, seconds, and the
    best layout of the ranks.

    model: published sizes, a preset, or a folder with a config.json. fields: as of `fledge plan`,
    such as card="h100", gpus=8.
    """
    return look_by_verb("plan", {"model": model, **fields}, verbose)


def plan_check(*, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """Hold such plans against what is counted and measured here. `holds` says whether they do."""
    return look_by_verb("plan check", fields, verbose)


def plan_table(*, verbose: bool = False) -> dict[str, Any]:
    """Plans of 1 B to 405 B parameters."""
    return look_by_verb("plan table", {}, verbose)


def report(
    run: Folder | TrainedRun, out: Folder | None = None, *, verbose: bool = False
) -> dict[str, Any]:
    """Write a run's page, or that of a folder of runs: report.html, which opens offline."""
    return look_by_verb("report", {"run": run, **_given(out=out)}, verbose)


def export(run: Learns, *, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """Write a model for other programs: format="hf", "merged", "peft" or "gguf"."""
    return look_by_verb("export", {"run": run, **fields}, verbose)


def serve(*base: Learns, verbose: bool = True, **fields: Any) -> dict[str, Any]:
    """Answer OpenAI's clients, and people on a page, until Ctrl-C. It says where it listens, unless
    verbose=False.

    fields: as of `fledge serve`, such as port=8080, slots=32, precision="bf16".
    """
    given = {"base": base} if base else {}
    return look_by_verb("serve", {**given, **fields}, verbose)


def show_sampling(
    base: Speaks | None = None, *, verbose: bool = False, **fields: Any
) -> dict[str, Any]:
    """A page on decoding rules: what each does to a distribution, of a model if one is given."""
    return look_by_verb("show sampling", {**_given(base=base), **fields}, verbose)


def show_rope(
    base: Speaks | None = None, *, verbose: bool = False, **fields: Any
) -> dict[str, Any]:
    """A page on rotary positions: how they turn, what theta and scaling change."""
    return look_by_verb("show rope", {**_given(base=base), **fields}, verbose)


def show_coordinates(*, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """A page on widths: what grows with them in the first steps, with and without µP."""
    return look_by_verb("show coordinates", fields, verbose)


def show_attention(base: Speaks, *, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """A page on attention: which token looks at which, by layer and head."""
    return look_by_verb("show attention", {"base": base, **fields}, verbose)


def show_merges(*, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """A page on byte-pair encoding: learned on a text, step by step."""
    return look_by_verb("show merges", fields, verbose)


def merge(models: Sequence[Speaks] | str, *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """Several models of one shape made into one, without training: method="average",
    "task_arithmetic", "ties", "slerp" or "soup".

    models: runs or folders, one after the other, or with commas between.
    """
    if not isinstance(models, str):
        models = ",".join(str(getattr(each, "folder", each)) for each in models)
    return run_verb("merge", {"models": models, **fields}, verbose)


def scale(data: Texts | None = None, *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """A scaling law L = E + A/N^α + B/D^β with its intervals: of the runs in a .csv, or of runs on
    texts that are planned for `minutes=` and made.
    """
    return run_verb("scale", {**_given(data=data), **fields}, verbose)


def continual(data: Folder = "digits", *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """Tasks or texts learned one after the other, by plain fine-tuning and by remedies against
    forgetting; what is left of each after each.
    """
    return run_verb("continual", {"data": data, **fields}, verbose)


def data_clean(data: Texts, *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """Decide about every document of a corpus whether a model should learn from it, and say why:
    `.folder / "kept.jsonl"` and `dropped.jsonl`.
    """
    return run_verb("data clean", {"data": data, **fields}, verbose)


def data_effect(data: Texts = "python", *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """What a step of curation buys: models with and without it, in bits per byte of held-out
    documents, with an interval over seeds and documents.
    """
    return run_verb("data effect", {"data": data, **fields}, verbose)


def data_languages(data: Texts, *, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """Profiles that tell languages apart, out of rows with `text` and `lang`."""
    return look_by_verb("data languages", {"data": data, **fields}, verbose)


def data_mixture(data: Texts, *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """How much of each source a model should learn from, with intervals, by small models on
    mixtures; `.summary["data"]` is for `pretrain(data=)`.
    """
    return run_verb("data mixture", {"data": data, **fields}, verbose)


def data_quality(good: Texts, plain: Texts, *, verbose: bool = False, **fields: Any) -> TrainedRun:
    """A classifier of good and plain text out of two sets of files, for `data_clean(quality=)`;
    how it was judged is in `.summary`.
    """
    return run_verb("data quality", {"good": good, "plain": plain, **fields}, verbose)


def data_show(run: Folder | TrainedRun, *, verbose: bool = False, **fields: Any) -> dict[str, Any]:
    """A page about a run of `data_clean`: what each filter dropped, with examples."""
    return look_by_verb("data show", {"run": run, **fields}, verbose)


def runs(root: Folder = "runs", *, verbose: bool = False) -> dict[str, Any]:
    """The runs under a folder: what each is, how far it came, which run it started from."""
    return look_by_verb("runs", {"root": root}, verbose)


def _given(**fields: Any) -> dict[str, Any]:
    """Those that are not None: a field that is not given has its default."""
    return {name: value for name, value in fields.items() if value is not None}


def run_verb(name: str, fields: Mapping[str, Any], verbose: bool) -> TrainedRun:
    from fledge.front.call import run

    return run(name, fields, verbose=verbose)


def look_by_verb(
    name: str, fields: Mapping[str, Any], verbose: bool, ask: Callable[..., Any] | None = None
) -> dict[str, Any]:
    from fledge.front.call import look

    return look(name, fields, verbose=verbose, ask=ask)
