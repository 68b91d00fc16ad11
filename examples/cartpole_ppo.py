"""An agent that balances a pole: PPO, judged in episodes of its own, then asked for an action."""

import gymnasium

import fledge

run = fledge.control(
    "CartPole-v1", algorithm="ppo", steps=20_000, stop_at_return=475, pictures=False
)
print(run)

agent = run.model  # as it was at its best
environment = gymnasium.make("CartPole-v1")
observation, _ = environment.reset(seed=1)
earned, over = 0.0, False
while not over:
    observation, reward, terminated, truncated, _ = environment.step(agent.act(observation))
    earned, over = earned + float(reward), terminated or truncated
print(f"one episode by hand: {earned:.0f}")
print(f"twenty by fledge.play: {fledge.play(run)['mean_return']:.0f}")
