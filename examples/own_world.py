"""An agent in a world of your own: any environment of gymnasium, given as its class."""

import gymnasium
import numpy as np
from gymnasium import spaces

import fledge


class Corridor(gymnasium.Env):
    """Walk to the right end: 1 for arriving, a little less for every step that it takes."""

    observation_space = spaces.Box(-1.0, 1.0, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = float(self.np_random.uniform(-1, 1)), 0
        return np.array([self.place], np.float32), {}

    def step(self, action):
        self.place, self.steps = max(-1.0, self.place + (0.2 if action else -0.2)), self.steps + 1
        arrived = self.place >= 1
        seen = np.array([min(1.0, self.place)], np.float32)
        return seen, float(arrived) - 0.02, arrived, self.steps >= 40, {}


if __name__ == "__main__":
    run = fledge.control(Corridor, algorithm="ppo", steps=4000, learning_rate=3e-3)
    print(run)
    print(run.model, "goes", run.model.act(np.array([0.0], np.float32)))
    played = fledge.play(run, episodes=20)
    print(f"return {played['mean_return']:.2f} in episodes of {played['mean_length']:.0f} steps")
