"""What people of this trade type in place of a verb, and what it is called here."""

from __future__ import annotations

SELF_TAUGHT = ["alphazero", "muzero", "mcts", "self_play"]
ALIGNS = [
    "grpo",
    "ppo",
    "rloo",
    "reinforce",
    "dr_grpo",
    "dapo",
    "gspo",
    "cispo",
    "rest_em",
    "star",
    "best_of_n",
    "online_dpo",
    "em",
    "rwr",
    "awr",
]
ACTS = ["dqn", "sac", "td3", "a2c", "trpo", "q_learning", "sarsa", "dagger", "gail", "airl"]
ACTS += ["mpc", "dyna", "prioritised_sweeping", "psrl", "dreamer"]
FITTED = ["gmm", "hmm", "kalman", "kmeans", "fa", "ppca", "mfa"]
TRADE_WORDS = {
    **{name: f"It is an algorithm: `fledge align algorithm={name}`." for name in ALIGNS},
    **{
        name: f"It is an algorithm: `fledge prefer algorithm={name}`."
        for name in ("dpo", "ipo", "kto", "orpo", "simpo")
    },
    **{name: f"It is an algorithm: `fledge control algorithm={name}`." for name in ACTS},
    **dict.fromkeys(
        SELF_TAUGHT, "Games are learned by `fledge selfplay`, and played by `fledge play GAME`."
    ),
    **{name: f"It is a model: `fledge fit model={name}`." for name in FITTED},
    **dict.fromkeys(
        ("mixture", "cluster", "clustering"), "Points are clustered by `fledge fit model=gmm`."
    ),
    **dict.fromkeys(
        ("sft", "finetune", "fine_tune", "instruct"), "Tuning on conversations is `fledge tune`."
    ),
    **dict.fromkeys(("rm", "reward_model"), "A reward model is trained by `fledge reward`."),
    **dict.fromkeys(("rlhf", "rl", "rlvr"), "Learning from a reward is `fledge align`."),
    **dict.fromkeys(
        ("train", "pretraining"),
        "Training on raw text is `fledge pretrain`, on conversations `fledge tune`.",
    ),
    **dict.fromkeys(
        ("generate", "complete", "infer", "inference"), "Completing a prompt is `fledge sample`."
    ),
    **dict.fromkeys(
        ("eval", "benchmark", "perplexity", "test"), "Measuring a model is `fledge evaluate`."
    ),
    **dict.fromkeys(
        ("prompt", "cot", "few_shot", "icl"), "Questions are asked by a program: `fledge ask`."
    ),
    **dict.fromkeys(("rag", "retrieve"), "A memory is measured by `fledge recall`."),
    **dict.fromkeys(("list", "ls", "status"), "Runs are listed by `fledge runs`."),
    **dict.fromkeys(("continue", "restart"), "A run is continued by `fledge resume`."),
    **dict.fromkeys(
        ("tokenize", "encode"), "How a text splits is shown by `fledge tokenizer show`."
    ),
    **dict.fromkeys(("distillation", "gkd"), "Teaching a student is `fledge distill`."),
    **dict.fromkeys(
        ("quantize", "quantise", "quantization", "gptq", "awq", "prune", "pruning", "sparsify"),
        "A model is made smaller by `fledge compress`.",
    ),
    **dict.fromkeys(
        ("watch", "enjoy", "render"), "An agent is judged and filmed by `fledge play`."
    ),
    **dict.fromkeys(
        ("convert", "save", "gguf"),
        (
            "A model is written for others by `fledge export`; the folder `model` in a run is in "
            "Hugging Face's layout already."
        ),
    ),
    **dict.fromkeys(
        ("server", "api", "deploy", "openai"),
        (
            "`fledge serve RUN` answers other programs; `model` in a run's folder opens in other "
            "servers that read Hugging Face's layout."
        ),
    ),
}
