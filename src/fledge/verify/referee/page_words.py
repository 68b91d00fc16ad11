"""What docs/referee.md says around its tables."""

HEAD = """# The referee: whose gradient is right?

`fledge verify` holds our estimators against enumeration. The referee puts other people's trainers
before the same oracles: each is really built from its own installed package, its own code computes
and differentiates the loss of a model that is a table, and the gradient is read off the table.
`make referee` measures anew what is installed, and leaves the other rows as they are: each row has
the day on which it was measured and its version. imitation and d3rlpy pin an older gymnasium than
ours, verl and OpenRLHF other releases of transformers: they take an environment of their own
(`PYTHONPATH=src python -m benchmarks.referee --peer imitation`; the losses of verl 0.9 and OpenRLHF
0.11 were imported on a CPU after `pip install --no-deps verl openrlhf` beside torch, transformers,
ray, tensordict 0.10, pyvers, omegaconf, hydra-core, codetiming, pylatexenc, pillow and deepspeed).
`fledge verify peer=trl:grpo` prints the rows of one trainer, with settings of your own as further
words (`fledge verify peer=trl:grpo loss_type=dr_grpo`). CleanRL is no package but files: the user
gives one, and it is run as it is (`fledge verify peer=cleanrl:ppo file=ppo.py`); here it was that
of commit fe8d8a03, and the version is where the file's SHA-256 begins.

{measured}

{count}

A row that differs is no verdict: often the documents say so elsewhere, or it is a choice. The
equation says which, and the list at the end explains it.

**Language.** 3 symbols, the third ends a sequence, and at most 2 steps: 7 sequences. A group is 3
samples of one prompt. The expectation is a sum over all 84 groups, each with its probability (for
pairs: all 21 whose chosen side earns more, each as likely). Rewards, policy, reference and teacher
are fixed numbers.

**Worlds.** 2 states, 2 actions, policy and critic tables. The equation is looked for on 6 rollouts
of 8 steps, with a terminated step, two truncated ones and a cut end in each; they go through the
trainer's own collection or replay buffer where it has one. The expectation is a sum over all 64
episodes of 3 steps. Norms of gradients are not clipped, and each rollout is used once. A learner of
rewards is asked in such a world of 3 states, with a reward for each; exact is the slope of the
likelihood of all demonstrations of 3 steps, each with its probability.

- **equation**: what a step follows. Of a policy gradient it is found among {candidates}, of others
  among all losses named here, each written out from exact scores without a line of the trainer's;
  it fits to 2·10⁻⁶ (worlds 2·10⁻⁵: rollout buffers hold float32) on every drawn batch. Of two that
  agree on all batches the claimed one is named.
- **second way**: one that knows no equation. *Differences*: the loss that the trainer itself
  returns or logs, at tables moved by little (central differences of fourth order), beside the
  gradient it takes: their relative distance. Where a part of the loss is detached by design its
  value has another gradient, and the row says *samples*: 4,000 groups, drawn by the trainer's own
  generation where it has one, and the interval of the scale at four standard errors.
- **cosine, scale, bias**: of the expected gradient beside the exact one, ∇(E[r] − β·KL(π‖π_ref));
  for likelihoods ∇E[log π] under the data; in worlds ∇E[Σ γ^t r_t]; for pairs, scores and
  distillation the mean of the loss as its paper has it. Scale is the c for which c·g is nearest,
  bias is ‖E ĝ − c·g‖/‖c·g‖.
- **noise**: the variance of a step, scaled to go as far along the true gradient, as a multiple of
  plain REINFORCE's with as many samples (in worlds: of the policy's part, with one episode).
- **cut, right, left, masked**: what two micro-batches, three tokens of padding after the end of
  rows or before their beginning (where a trainer ever pads there), and other tokens under the mask
  change at most.
- **resumed**: a run of four steps beside one that was saved after two and resumed by another
  trainer: whether the weights have the same bits. Of agents: 64 steps in a small world, saved and
  loaded after 32 with all that their documents say how to save (d3rlpy: 64 optimizer steps on data
  that are there); one seed. How far the two lie apart is beside how far the first moved.
- **ranks**: what two processes (gloo, each with half the rows) change of the step that one takes.
- **date**: when the row was measured.

Letters: u = log π/π_ref of the chosen, v of the rejected, Δ = u − v, Δ₀ the same without a
reference; ε the label smoothing; A the advantage, R = A + V, y the target of Q-learning, Q′ the
target network, H the entropy. SAC and TD3 are asked one step at a time, with noise of a fixed seed
and critics that are linear in the action; Q′₁ is the first of two targets.
"""

WHY = """
## Where the differences come from

- **A mean over tokens is a ratio.** Σ_i A_i Σ_t s_it / Σ_i |y_i| divides by a length that is itself
  sampled: its expectation is not the gradient of E[r], and neither is that of a mean over each
  sequence. Both prefer some lengths (Liu et al. 2025). The same holds of the likelihood of
  tokens beside that of sequences: there it is the usual objective, and the row shows how far apart
  the two are.
- **A standard deviation of the group** divides by a number that the same samples made: the
  direction turns where the reward's spread and the score go together. The same in worlds for
  advantages that are normalised over a rollout, and over each minibatch: there the gradient depends
  on which steps lie together (a choice, and said so by the documents).
- **The group's mean holds the sample's own reward**: E[(r − mean)·s] = (G−1)/G · g, here ⅔; with
  the constant T = 2 beside it, ⅓. Leaving the sample out makes the scale 1.
- **k3 beside the loss**: with d = log π − log π_ref its gradient is (1 − e^−d)·s, of one token on
  average ∇KL(π_ref‖π), the other direction of the divergence. Times the ratio it is d·s: that of
  KL(π‖π_ref), without what a token's choice does to the later ones. In the reward (RLOO) the
  penalty is exact.
- **A mean over each micro-batch's tokens** depends on which rows lie together: `bnpo` (said so by
  its documents), DPO's `sft`, and the likelihood of the chosen in ORPO and CPO. Counted over the
  whole step, as SFT and the Trainer do, it does not.
- **Two processes** average their gradients: SFT, the Trainer, RLOO and DPO's sigmoid come to that
  of the whole batch. A mean over a process's own tokens (`bnpo`, DPO's `sft`) is a mean of means
  there, as it is over micro-batches.
- **A loss of the whole batch**: `aot_unpaired` sorts the log-ratios of a micro-batch, and KTO's z
  is the mean log-ratio of a micro-batch: both are other numbers when it is cut. Its paper estimates
  z so.
- **CISPO clips its weight at ε_max** = `epsilon_high`, which follows `epsilon` = 0.2 where it is
  not given: every weight on policy is then min(1, 0.2). At the recommended 5 it is 1.
- **A batch used several times** (`num_iterations`) is kept in memory and is not in the checkpoint:
  saved in its middle, GRPO goes on with newly generated sequences.
- **Truncated sequences left out** are missed by the sum: what they earn, and what they are, no
  longer counts in the expectation.
- **IPO** has two readings. In the paper (Azar et al. 2023, eq. 17) h_π(y, y′) is the difference of
  log π/π_ref of whole sequences, a sum over tokens; it does not speak of lengths. TRL's DPO divides
  each log-ratio by its length, “not explicitly discussed in the IPO paper; we confirmed this choice
  with the IPO authors, and the results reported in the paper correspond to this normalized form”.
  TRL's online DPO and OpenRLHF sum. Beside the sum the mean has here a cosine of 0.9995, a scale of
  0.4900 and a bias of 3.3%: with lengths of 1 and 2 they are near; a β goes with one reading.
- **SimPO**: `loss_type=simpo` keeps the likelihood of the chosen beside the loss, `cpo_alpha` = 1
  by default, and is then CPO-SimPO; with `cpo_alpha=0` it is the paper's. TRL's documents say both.
- **Label smoothing with a model class of one's own**: the Trainer shifts labels by one for classes
  in transformers' list of causal models, by their name. A class of a user's, registered with
  AutoModelForCausalLM, is not in it: with `label_smoothing_factor` above 0 every token becomes its
  own label, at 0 the model's loss shifts them itself.
- **A factor before the critic's loss** (½, 1 or 2 beside ½(V − R)²) is its weight beside the
  policy's; with an optimizer that divides by its own scale it matters where both share weights.
- **γ^t is left out** by actor-critic trainers: Σ_t A_t ∇log π(a_t|s_t) with discounted advantages
  is not the gradient of E[Σ γ^t r_t] (Nota & Thomas 2020); at γ = 1 and λ = 1 the bias is 0, and
  the scale is 1/3 because the mean is taken over 3 steps.
- **λ below 1** trusts the critic, which here is not the policy's value.
- **An entropy bonus** is part of the measured gradient, not of the exact one beside it.
- **d3rlpy's DQN** documents a squared error and takes Huber's loss, as Mnih et al. 2015 do.
- **verl's `seq-mean-token-sum-norm`** divides by the width of the padded responses, which is
  `data.max_response_length`, unless `loss_scale_factor` is given: its documents say so. Three
  tokens more in that setting (right) are then a smaller step.
- **Whitened over all tokens** (verl's REINFORCE++): every token of a row holds the row's reward, so
  that long rows weigh more in the mean and the variance, and both are made by the same samples.
- **OpenRLHF's trainer** adds the penalty of `algo.kl.use_loss` by `aggregate_loss` without its
  `token_level_loss` (ppo_actor.py, read and not measured): with `loss_agg_mode` other than
  token-mean the penalty is still a mean over tokens. The rows are of token-mean.
- **CleanRL's ppo.py** takes an end of either kind for terminated, and weighs ½(V − R)² by
  `vf_coef` = ½ once more. It pins gymnasium 0.29. From gymnasium 1.0 on a vector of environments
  spends a step on every reset, in which the action does nothing and the reward is 0: the script,
  unchanged, learns from these steps too, A = γ·V(first state) − V(last state) + what follows, and
  `fledge verify` says so where it is run with such a gymnasium.
- **imitation's MCE-IRL** counts the state after the last action too, for which its planner foresees
  no reward: ∇ of the likelihood is Σ_(t<H) γ^t·1{s_t} of what was shown less the policy's. Its
  `discount` enters the counts (“the discount factor to use when computing occupancy measure”) and
  the policy that it hands back, but not the policy whose states it counts while it learns:
  `mce_occupancy_measures` plans with discount 1. At 1 both are one.
- **Agents that are saved and loaded** (Stable-Baselines3, Tianshou, d3rlpy) go on with generators
  that begin at the seed and, where they act, with a new episode; weights, optimizer and, where it
  is saved beside them, the replay buffer are kept. Their documents do not promise the same bits,
  so that this is no difference from what is claimed. Of TorchRL and RLax losses are asked, which
  have no run to be saved, and of imitation gradients; CleanRL's ppo.py saves nothing.
- **Truncation**: where a trainer keeps the true next state of a step that a time limit cut off, the
  target looks ahead from it. RLax leaves ends to its caller: values of one row of states and one
  discount a step. Here that is 0 at either end, so that its GAE takes the one for the other; a
  caller may add γ·V of the true next state to the reward, as Stable-Baselines3 does.

What is not measured: the steps after the first on the same samples (clipping), processes of agents
and of the trainers whose column is empty, RLax's noise, verl's and OpenRLHF's trainers (they want
GPUs: of verl its advantages and `ppo_loss` are asked, of OpenRLHF its file of losses, loaded
without the package's `__init__`, which imports flash-attn), CleanRL's other files, and the peers
that the table does not name.
"""
