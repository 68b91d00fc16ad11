"""Packages of which the losses are heard and not the trainers, that want GPUs: verl and OpenRLHF,
at which settings, what their documents say of each, and the equation that this is.
"""

from __future__ import annotations

from fledge.verify.referee.equations import SMOOTHING, name_policy
from fledge.verify.referee.language_rows import (
    CONSTANT,
    OTHERS,
    PLAIN,
    SEQUENCES,
    SUMS,
    TOKENS,
    Row,
)
from fledge.verify.referee.pair_equations import CONSERVATIVE, SIGMOID, SQUARE, name_pair

GROUP_STD = "(r − mean)/(std + 10⁻⁶)"
WHITE, WHITE_APART = "r, whitened over all tokens", "r − mean, whitened over all tokens"
_STD = "“the advantage is scaled by the std, as in the original GRPO”"
_MEAN = "loss_agg_mode = token-mean by default"
_SEQUENCES = {"loss_agg_mode": "seq-mean-token-mean"}
_SUMS = {"loss_agg_mode": "seq-mean-token-sum"}
_NORM = {"norm_adv_by_std_in_grpo": False, "loss_agg_mode": "seq-mean-token-sum-norm"}
_DR_GRPO = {**_NORM, "loss_scale_factor": 2}
_DR = "“the advantage is not scaled, as in Dr.GRPO”"
VERL_GRPO: list[Row] = [
    ({}, f"{_STD}; {_MEAN}", name_policy(GROUP_STD, TOKENS)),
    (_SEQUENCES, f"{_STD}; the mean of sequences' means", name_policy(GROUP_STD, SEQUENCES)),
    (_NORM, f"{_DR}; “If null, uses response_length”", name_policy(PLAIN, CONSTANT)),
    (
        _DR_GRPO,
        f"{_DR}; “Set to a constant to ensure consistent normalization”",
        name_policy(PLAIN, CONSTANT),
    ),
    (
        {"use_kl_loss": True, "kl_loss_coef": 0.5, **_DR_GRPO},
        "“low_var_kl” beside the loss, by default",
        name_policy(PLAIN, CONSTANT, "k3 in the loss"),
    ),
    (
        {"use_kl_loss": True, "kl_loss_coef": 0.5, "kl_loss_type": "k3+", **_DR_GRPO},
        "“k2 estimator gives right gradient estimator, so we use a straight through trick”",
        name_policy(PLAIN, CONSTANT, "k2 in the loss"),
    ),
    (
        {"loss_mode": "gspo", **_SEQUENCES},
        "GSPO: “it is recommended to use seq-mean-token-mean”",
        name_policy(GROUP_STD, SEQUENCES),
    ),
    (
        {"loss_mode": "gspo"},
        f"“we support aggregate the loss in different modes, default is token-mean”: {_MEAN}",
        name_policy(GROUP_STD, TOKENS),
    ),
    (
        {"loss_mode": "cispo"},
        f"MiniMax 2025, CISPO; {_MEAN}",
        name_policy(GROUP_STD, TOKENS),
    ),
    (
        {"loss_mode": "sapo"},
        "“we need to aggregate the loss at the sequence level (seq-mean-token-mean)”",
        name_policy(GROUP_STD, SEQUENCES),
    ),
]
VERL_RLOO: list[Row] = [
    ({}, f"Ahmadian et al. 2024, leave-one-out; {_MEAN}", name_policy(OTHERS, TOKENS)),
    (_SUMS, "leave-one-out, summed over tokens: unbiased", name_policy(OTHERS, SUMS)),
    (
        {"use_kl_in_reward": True, "kl_coef": 0.05, **_SUMS},
        "leave-one-out, KL in the reward: unbiased",
        name_policy(OTHERS, SUMS, "k1 in the reward"),
    ),
]
VERL_WHITE: list[Row] = [
    ({}, f"Hu et al. 2025, whitened over the batch; {_MEAN}", name_policy(WHITE, TOKENS)),
]
VERL_WHITE_APART: list[Row] = [
    ({}, f"“RF++-baseline”: Hu et al. 2025; {_MEAN}", name_policy(WHITE_APART, TOKENS)),
]
_GIVEN = "advantages as given, leave-one-out"
_PENALISED = {"use_loss": True, "init_coef": 0.5}
OPENRLHF_POLICY: list[Row] = [
    ({}, f"{_GIVEN}; “per-token: masked-sum / global token count”", name_policy(OTHERS, TOKENS)),
    (
        {"token_level_loss": False},
        f"{_GIVEN}; “sum of per-sequence token-means / global sample count”",
        name_policy(OTHERS, SEQUENCES),
    ),
    (
        {"policy_loss_type": "gspo"},
        f"{_GIVEN}; “GSPO requires sequence-level loss”",
        name_policy(OTHERS, SEQUENCES),
    ),
    (
        {**_PENALISED, "estimator": "k2"},
        f"{_GIVEN}; k2 beside the loss",
        name_policy(OTHERS, TOKENS, "k2 in the loss"),
    ),
    (
        {**_PENALISED, "estimator": "k3"},
        f"{_GIVEN}; “gradient flows through the estimator formula unchanged”",
        name_policy(OTHERS, TOKENS, "k3 in the loss"),
    ),
    (
        {**_PENALISED, "estimator": "k3", "unbiased_gradient": True},
        f"{_GIVEN}; “k1/k2/k3 then share the same (correct) gradient”",
        name_policy(OTHERS, TOKENS, "k2 in the loss"),
    ),
]
OPENRLHF_SFT: list[Row] = [
    ({}, "“per-token: masked-sum / global token count”", TOKENS),
    (
        {"token_level_loss": False},
        "“sum of per-sequence token-means / global sample count”",
        SEQUENCES,
    ),
]
OPENRLHF_DPO: list[Row] = [
    ({}, "“original DPO (Eq. 7)”: Rafailov et al. 2023", name_pair(SIGMOID)),
    ({"label_smoothing": SMOOTHING}, "“Eq. 3”: Mitchell 2023, cDPO", name_pair(CONSERVATIVE)),
    ({"ipo": True}, "“Eq. 17”: Azar et al. 2023", name_pair(SQUARE)),
]
OPENRLHF_REWARD: list[Row] = [
    ({}, "“Pairwise Loss for Reward Model”: Bradley–Terry", "−log σ(r_c − r_r)"),
    ({"loss": "logexp"}, "Bai et al. 2022, log(1 + e^(r_r − r_c))", "−log σ(r_c − r_r)"),
]
CORE_LOSS_ROWS: dict[str, list[Row]] = {
    "verl:grpo": VERL_GRPO,
    "verl:rloo": VERL_RLOO,
    "verl:reinforce_plus_plus": VERL_WHITE,
    "verl:reinforce_plus_plus_baseline": VERL_WHITE_APART,
    "openrlhf:policy": OPENRLHF_POLICY,
    "openrlhf:sft": OPENRLHF_SFT,
    "openrlhf:dpo": OPENRLHF_DPO,
    "openrlhf:reward": OPENRLHF_REWARD,
}
