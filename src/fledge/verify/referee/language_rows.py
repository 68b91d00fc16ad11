"""The trainers of language models that are heard: at which settings, what their documents say of
each, and the equation that this is.
"""

from __future__ import annotations

from typing import Any

from fledge.verify.referee.equations import SMOOTHING, name_policy
from fledge.verify.referee.pair_equations import (
    CENTRE,
    HINGE,
    SIGMOID,
    SQUARE,
    UNPAIRED,
    name_divergence,
    name_pair,
)

Row = tuple[dict[str, Any], str, str]  # setting, what the documents say, equation

SEQUENCES = "mean over sequences of the mean over tokens"
TOKENS = "mean over all tokens"
CONSTANT = "sum over tokens / (rows × longest allowed)"
SUMS = "sum over tokens / rows"
GROUP_STD, PLAIN, OTHERS = "(r − mean)/(std + ε)", "r − mean", "r − mean of the others"
BATCH_STD = "(r − mean)/(std of the batch + ε)"
WHITENED = "r − mean of the others, whitened over the batch"
FORWARD, REVERSE = "KL(teacher‖student)", "KL(student‖teacher)"
JENSEN_SHANNON = "½·KL(teacher‖m) + ½·KL(student‖m), m their mean"
PLAIN_SIGMOID, SIMPO = "−log σ(βΔ₀)", "−log σ(βΔ₀ − γ)"
ODDS, APO_ZERO = "−β·log σ(log odds ratio)", "1 − σ(βu) + σ(βv)"

_LENGTH = "“normalizing over sequence length”"
_GLOBAL = "“the number of active tokens in the global accumulated batch”"
_LOCAL = "“the number of active token in the local batch”"
_STATED = "“a global constant”"
_GROUPED = "“scaled by the standard deviation within each group”"
# setting, what the documents say, equation
GRPO_ROWS: list[Row] = [
    (
        {},
        f"“the number of active token in the global accumulated batch”, {_GROUPED}",
        name_policy(GROUP_STD, TOKENS),
    ),
    ({"loss_type": "grpo"}, _LENGTH, name_policy(GROUP_STD, SEQUENCES)),
    ({"loss_type": "bnpo"}, _LOCAL, name_policy(GROUP_STD, TOKENS)),
    ({"loss_type": "dr_grpo"}, _STATED, name_policy(GROUP_STD, CONSTANT)),
    ({"loss_type": "cispo"}, _GLOBAL, name_policy(GROUP_STD, TOKENS)),
    (
        {"loss_type": "cispo", "epsilon_high": 5.0},
        f"{_GLOBAL}; “the recommended value is 5.0”",
        name_policy(GROUP_STD, TOKENS),
    ),
    (
        {"loss_type": "sapo"},
        "a soft gate in place of clipping; on policy its slope is 1",
        name_policy(GROUP_STD, SEQUENCES),
    ),
    (
        {"loss_type": "luspo", "importance_sampling_level": "sequence"},
        "“scales each sequence's loss by its length”",
        name_policy(GROUP_STD, SUMS),
    ),
    (
        {"loss_type": "dapo", "scale_rewards": "none"},
        "“no scaling is applied”",
        name_policy(PLAIN, TOKENS),
    ),
    (
        {"loss_type": "dapo", "scale_rewards": "batch"},
        "“scaled by the standard deviation across the entire batch”",
        name_policy(BATCH_STD, TOKENS),
    ),
    (
        {"loss_type": "dr_grpo", "scale_rewards": "none"},
        "Dr. GRPO as its paper has it: no std, a constant in place of the length",
        name_policy(PLAIN, CONSTANT),
    ),
    (
        {"loss_type": "grpo", "importance_sampling_level": "sequence"},
        "GSPO: one ratio a sequence, the mean of its steps'",
        name_policy(GROUP_STD, SEQUENCES),
    ),
    (
        {"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": False},
        "GRPO as its paper has it: k3 beside the loss, β = 0.04",
        name_policy(GROUP_STD, SEQUENCES, "k3 in the loss"),
    ),
    (
        {"loss_type": "grpo", "beta": 0.04},
        "k3 times the ratio, by default: on policy its gradient is that of k2",
        name_policy(GROUP_STD, SEQUENCES, "k2 in the loss"),
    ),
    (
        {
            "loss_type": "dr_grpo",
            "scale_rewards": "none",
            "beta": 0.5,
            "use_bias_correction_kl": False,
        },
        "k3 beside the loss, weighed enough to be seen",
        name_policy(PLAIN, CONSTANT, "k3 in the loss"),
    ),
    (
        {"loss_type": "dr_grpo", "scale_rewards": "none", "beta": 0.5},
        "k3 times the ratio, weighed enough to be seen",
        name_policy(PLAIN, CONSTANT, "k2 in the loss"),
    ),
    (
        {"loss_type": "dapo", "mask_truncated_completions": True},
        "“truncated completions are excluded from the loss”",
        name_policy(GROUP_STD, TOKENS) + "; truncated sequences are left out",
    ),
    (
        {"loss_type": "dr_grpo", "scale_rewards": "none", "temperature": 0.5},
        "trained at the temperature that was sampled",
        name_policy(PLAIN, CONSTANT),
    ),
    (
        {"num_iterations": 3},
        "“Number of iterations per batch”: the first of them; saved after the second",
        name_policy(GROUP_STD, TOKENS),
    ),
]
RLOO_ROWS: list[Row] = [
    (
        {},
        "leave-one-out, KL in the reward: unbiased",
        name_policy(OTHERS, SUMS, "k1 in the reward"),
    ),
    ({"beta": 0.0}, "leave-one-out: unbiased", name_policy(OTHERS, SUMS)),
    ({"beta": 0.0, "temperature": 0.5}, "leave-one-out: unbiased", name_policy(OTHERS, SUMS)),
    (
        {"beta": 0.0, "normalize_advantages": True},
        "advantages normalised over the generation batch",
        name_policy(WHITENED, SUMS),
    ),
]
_COUNTED = "the mean over all tokens of the accumulated batch"
_SMOOTHED = "“0 becomes ε/num_labels and 1 becomes 1 - ε + ε/num_labels”"
_SMOOTH = f"{TOKENS}; 1 − ε of it, ε of the mean over the vocabulary"
SFT_ROWS: list[Row] = [
    ({}, _COUNTED, TOKENS),
    (
        {"loss_type": "dft"},
        "DFT: each token's loss times its probability, detached",
        f"{TOKENS}; each token weighed by its probability",
    ),
    ({"label_smoothing_factor": SMOOTHING}, _SMOOTHED, _SMOOTH),
]
TRAINER_ROWS: list[Row] = [
    ({}, _COUNTED, TOKENS),
    ({"label_smoothing_factor": SMOOTHING}, _SMOOTHED, _SMOOTH),
]
DPO_ROWS: list[Row] = [
    ({}, "Rafailov et al. 2023, eq. 7", name_pair(SIGMOID)),
    ({"loss_type": "hinge"}, "SLiC's hinge on DPO's margin", name_pair(HINGE)),
    (
        {"loss_type": "ipo"},
        "“(Eq. 17)” of Azar et al. 2023, where “we … normalize by the number of completion tokens”",
        name_pair(SQUARE, True),
    ),
    ({"loss_type": "sigmoid_norm"}, "DPO on means over tokens", name_pair(SIGMOID, True)),
    (
        {"loss_type": "robust", "label_smoothing": SMOOTHING},
        "Chowdhury et al. 2024: “the probability that a preference label is flipped”",
        name_pair("((1−ε)·(−log σ(βΔ)) + ε·log σ(−βΔ))/(1−2ε)"),
    ),
    (
        {"loss_type": "exo_pair", "label_smoothing": SMOOTHING},
        "Ji et al. 2024, eq. 16",
        name_pair("KL(softmax of β(u, v) ‖ (1−ε, ε))"),
    ),
    (
        {"loss_type": "nca_pair"},
        "Chen et al. 2024, NCA of pairs",
        name_pair("−log σ(βu) − ½·log σ(−βu) − ½·log σ(−βv)"),
    ),
    (
        {"loss_type": "bco_pair"},
        "BCO (Jung et al. 2024) on pairs, without its shift of the reward",
        name_pair("−log σ(βu) − log σ(−βv)"),
    ),
    (
        {"loss_type": "sppo_hard"},
        "Wu et al. 2024, “the hard probability version”",
        name_pair("(u − 1/2β)² + (v + 1/2β)²"),
    ),
    (
        {"loss_type": "aot"},
        "Melnyk et al. 2024, paired data",
        name_pair("−log σ(βΔ) of sorted ratios"),
    ),
    (
        {"loss_type": "aot_unpaired"},
        "Melnyk et al. 2024, unpaired data",
        name_pair("−log σ(βΔ) of sorted u and sorted v"),
    ),
    ({"loss_type": "apo_zero"}, "D'Oosterlinck et al. 2024, eq. 7", name_pair(APO_ZERO)),
    (
        {"loss_type": "apo_down"},
        "D'Oosterlinck et al. 2024, eq. 8",
        name_pair("σ(βu) + 1 − σ(βΔ)"),
    ),
    (
        {"loss_type": "discopop"},
        "Lu et al. 2024, eq. 5, τ = 0.05",
        name_pair("(1 − σ(βΔ/τ))·(−log σ(βΔ)) + σ(βΔ/τ)·e^−βΔ"),
    ),
    ({"loss_type": "sft"}, "the likelihood of the chosen", name_pair("NLL of the chosen")),
]
ONLINE_ROWS: list[Row] = [
    ({}, "Guo et al. 2024: DPO's loss on pairs that a judge ordered", name_pair(SIGMOID)),
    ({"loss_type": "ipo"}, "Azar et al. 2023, eq. 17", name_pair(SQUARE)),
]
KTO_ROWS: list[Row] = [
    ({}, "Ethayarajh et al. 2024, eq. 7", next(iter(UNPAIRED))),
    (
        {"loss_type": "apo_zero_unpaired"},
        "D'Oosterlinck et al. 2024, eq. 7, unpaired",
        "1 − σ(βu), σ(βv)",
    ),
]
ORPO_ROWS: list[Row] = [
    ({}, "Hong et al. 2024, eq. 6 and 7", name_pair(ODDS, True, True)),
]
CPO_ROWS: list[Row] = [
    (
        {},
        "Xu et al. 2024, eq. 5: with the NLL of the chosen",
        name_pair(PLAIN_SIGMOID, beside=True),
    ),
    ({"cpo_alpha": 0.0}, "the preference term alone", name_pair(PLAIN_SIGMOID)),
    (
        {"loss_type": "hinge"},
        "SLiC's hinge, with the NLL of the chosen",
        name_pair("max(0, 1 − βΔ₀)", beside=True),
    ),
    (
        {"loss_type": "ipo", "cpo_alpha": 0.0},
        "IPO without a reference",
        name_pair("(Δ₀ − 1/2β)²", True),
    ),
    (
        {"loss_type": "simpo"},
        "“CPO-SimPO … the combined use of CPO and SimPO”, “a non-zero cpo_alpha”",
        name_pair(SIMPO, True, True),
    ),
    (
        {"loss_type": "simpo", "cpo_alpha": 0.0},
        "Meng et al. 2024, eq. 6",
        name_pair(SIMPO, True),
    ),
]
REWARD_ROWS: list[Row] = [
    ({}, "Bradley–Terry", "−log σ(r_c − r_r)"),
    (
        {"center_rewards_coefficient": CENTRE},
        "“mean-zero rewards”: Eisenstein et al. 2023, eq. 2",
        "−log σ(r_c − r_r) + c·(r_c + r_r)²",
    ),
]
GKD_ROWS: list[Row] = [
    (
        {},
        "“the Generalized Jensen-Shannon Divergence loss”, β = ½: Agarwal et al. 2024, eq. 1",
        name_divergence(JENSEN_SHANNON, TOKENS),
    ),
    ({"beta": 0.0}, "“the loss is the KL divergence”", name_divergence(FORWARD, TOKENS)),
    ({"beta": 1.0}, "“the loss is the Inverse KL Divergence”", name_divergence(REVERSE, TOKENS)),
]
LANGUAGE_ROWS: dict[str, list[Row]] = {
    "trl:grpo": GRPO_ROWS,
    "trl:rloo": RLOO_ROWS,
    "trl:sft": SFT_ROWS,
    "trl:dpo": DPO_ROWS,
    "trl:online_dpo": ONLINE_ROWS,
    "trl:kto": KTO_ROWS,
    "trl:orpo": ORPO_ROWS,
    "trl:cpo": CPO_ROWS,
    "trl:reward": REWARD_ROWS,
    "trl:gkd": GKD_ROWS,
    "transformers:trainer": TRAINER_ROWS,
    "transformers:trainer_own_model": TRAINER_ROWS,
}
