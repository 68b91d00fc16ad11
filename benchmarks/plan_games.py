"""Tree search in connect four, the same network on every side: ours, open_spiel's Python MCTS, and
mctx' batched search.

Searches of 400 simulations from positions after four moves. open_spiel searches one position after
the other and asks the network (PyTorch, the same object) for one at a time, each position once,
as its AlphaZero does. mctx searches 32 positions in one compiled call, with the rules and the
network in JAX; it is timed after it was compiled. Ours searches the same 32 positions together,
with one leaf of each tree in a call of the network, as both of them do, and with eight, and asks
for each position once a search, as open_spiel does. Simulations per second, all positions together.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch

from fledge.evaluate.arena import Dice
from fledge.models.control.board_network import BoardNetwork
from fledge.plan.search.evaluation_cache import EvaluationCache
from fledge.plan.search.models import KnownModel
from fledge.plan.search.network_evaluator import NetworkEvaluator
from fledge.plan.search.searching import Search, SearchSettings
from fledge.worlds.games.connect_four import ConnectFour
from side_by_side import alternate, finish, options, rate_table, rates, say, speed_up

BATCH, MOVES, EXPLORATION = 32, 4, 1.5
CHANNELS, BLOCKS = 32, 2
AIMS = {
    "simulations/s, ours one tree with 8 leaves / open_spiel": "≥ 3",
    "simulations/s, ours one tree with 1 leaf / open_spiel": "≥ 3",
    "simulations/s at 32 games, ours / open_spiel": "≥ 3",
    "simulations/s at 32 games, ours / mctx": "≥ 1",
    "simulations/s at 32 games, ours with 8 leaves / mctx": "≥ 1",
}


def our_search(
    game: ConnectFour, network: Any, positions: Any, simulations: int, leaves: int
) -> Callable[[], Any]:
    asked = NetworkEvaluator(game, network, torch.device("cpu"))
    evaluator = EvaluationCache(asked, positions.shape[1], game.actions)
    settings = SearchSettings(simulations, exploration=EXPLORATION, leaves=leaves)
    search = Search(KnownModel(game, evaluator), settings)

    def run() -> Any:
        evaluator.forget()
        return search.run(search.plant(positions))

    return run


def open_spiel_search(network: Any, history: list[int], simulations: int) -> Callable[[], Any]:
    """Its MCTSBot with PUCT from one position, asking the network as ours is asked."""
    import pyspiel
    from open_spiel.python.algorithms import mcts

    game = pyspiel.load_game("connect_four")

    class NetworkEvaluatorOfTheirs(mcts.Evaluator):
        known: ClassVar[dict[str, tuple[Any, float]]] = {}

        def ask(self, state: Any) -> tuple[Any, float]:
            name = str(state)
            if name not in self.known:
                self.known[name] = self.ask_network(state)
            return self.known[name]

        def ask_network(self, state: Any) -> tuple[Any, float]:
            player = state.current_player()
            # Planes: x, o and empty, from below; ours are own and other, from above.
            planes = np.array(state.observation_tensor(player), dtype=np.float32)
            planes = planes.reshape(3, 6, 7)[:, ::-1]
            own, other = (planes[0], planes[1]) if player == 0 else (planes[1], planes[0])
            with torch.inference_mode():
                logits, value = network(torch.from_numpy(np.stack([own, other])[None]))
            return logits[0], float(value[0])

        def evaluate(self, state: Any) -> Any:
            value = self.ask(state)[1]
            return np.array([value, -value] if state.current_player() == 0 else [-value, value])

        def prior(self, state: Any) -> list[tuple[int, float]]:
            legal = state.legal_actions()
            chance = self.ask(state)[0][legal].softmax(0).tolist()
            return list(zip(legal, chance, strict=True))

    bot = mcts.MCTSBot(
        game, EXPLORATION, simulations, NetworkEvaluatorOfTheirs(), solve=False,
        child_selection_fn=mcts.SearchNode.puct_value, random_state=np.random.RandomState(0),
    )  # fmt: skip
    state = game.new_initial_state()
    for action in history:
        state.apply_action(action)

    def search() -> Any:
        bot.evaluator.known.clear()
        return bot.mcts_search(state)

    return search


def mctx_search(network: BoardNetwork, boards: Any, simulations: int) -> Callable[[], Any]:
    """Its muzero_policy by the true rules, without noise. boards: 1 own, −1 other.  [n, 42]"""
    import jax
    import jax.numpy as jnp
    import mctx

    weights = {name: jnp.asarray(w.detach().numpy()) for name, w in network.named_parameters()}

    def conv(x: Any, name: str) -> Any:
        kernel = weights[f"{name}.weight"].transpose(2, 3, 1, 0)
        out = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return out + weights[f"{name}.bias"]

    def flatten(x: Any) -> Any:
        return jax.nn.relu(x).transpose(0, 3, 1, 2).reshape(len(x), -1)

    def linear(x: Any, name: str) -> Any:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def think(board: Any) -> tuple[Any, Any]:
        x = board.reshape(-1, 6, 7)
        x = conv(jnp.stack([x == 1, x == -1], -1).astype(jnp.float32), "trunk.stem")
        for block in range(BLOCKS):
            inner = conv(jax.nn.relu(x), f"trunk.blocks.{block}.first")
            x = x + conv(jax.nn.relu(inner), f"trunk.blocks.{block}.second")
        x = jax.nn.relu(x)
        moves, worth = flatten(conv(x, "heads.moves")), flatten(conv(x, "heads.worth"))
        hidden = jax.nn.relu(linear(worth, "heads.hidden"))
        logits = linear(moves, "heads.logits")
        logits = jnp.where(board.reshape(-1, 6, 7)[:, 0] == 0, logits, -1e9)
        return logits, jnp.tanh(linear(hidden, "heads.value"))[:, 0]

    def won(board: Any) -> Any:
        """Whether the stones marked 1 have four in a row.  [n, 42] -> [n]"""
        x = board.reshape(-1, 6, 7) == 1
        across = x[:, :, :-3] & x[:, :, 1:-2] & x[:, :, 2:-1] & x[:, :, 3:]
        down = x[:, :-3] & x[:, 1:-2] & x[:, 2:-1] & x[:, 3:]
        falls = x[:, :-3, :-3] & x[:, 1:-2, 1:-2] & x[:, 2:-1, 2:-1] & x[:, 3:, 3:]
        rises = x[:, 3:, :-3] & x[:, 2:-1, 1:-2] & x[:, 1:-2, 2:-1] & x[:, :-3, 3:]
        return across.any((1, 2)) | down.any((1, 2)) | falls.any((1, 2)) | rises.any((1, 2))

    def follow(params: Any, key: Any, action: Any, state: Any) -> tuple[Any, Any]:
        board, over = state
        x = board.reshape(-1, 6, 7)
        rows = jnp.arange(len(x))
        depth = (x[rows, :, action] == 0).sum(1) - 1  # the lowest free cell
        free = depth >= 0
        x = x.at[rows, jnp.maximum(depth, 0), action].set(
            jnp.where(free, 1, x[rows, jnp.maximum(depth, 0), action])
        )
        after = x.reshape(-1, 42)
        wins = won(after) & ~over
        ends = over | wins | (after != 0).all(1)
        logits, value = think(-after)
        out = mctx.RecurrentFnOutput(
            reward=jnp.where(wins, 1.0, 0.0),
            discount=jnp.where(ends, 0.0, -1.0),
            prior_logits=logits,
            value=jnp.where(ends, 0.0, value),
        )
        return out, (-after, ends)

    boards = jnp.asarray(boards)

    @jax.jit
    def search(key: Any) -> Any:
        logits, value = think(boards)
        root = mctx.RootFnOutput(
            prior_logits=logits, value=value, embedding=(boards, jnp.zeros(len(boards), bool))
        )
        out = mctx.muzero_policy(
            None, key, root, follow, num_simulations=simulations, dirichlet_fraction=0.0,
            invalid_actions=boards.reshape(-1, 6, 7)[:, 0] != 0,
        )  # fmt: skip
        return out.action_weights

    return lambda: np.asarray(search(jax.random.PRNGKey(0)))


def list_boards(game: ConnectFour, positions: Any) -> Any:
    """1 for the stones of the player whose turn it is, −1 for the other's.  -> [n, 42]"""
    seen = game.observe(positions)
    return (seen[:, 0] - seen[:, 1]).reshape(len(positions), -1).astype(np.int8)


def draw_histories(game: ConnectFour, positions: Any) -> list[list[int]]:
    """Moves that lead to each position: any that do."""
    histories = []
    for position in positions:
        layer: list[tuple[Any, list[int]]] = [(game.begin(1), [])]
        for _ in range(MOVES):
            layer = [
                (game.apply(p, np.array([a])), [*moves, int(a)])
                for p, moves in layer
                for a in np.flatnonzero(game.legal(p)[0])
            ]
        histories.append(next(moves for p, moves in layer if (p[0] == position).all()))
    return histories


def main() -> None:
    given = options(__doc__)
    simulations, rounds = (50, 1) if given.quick else (400, 3)
    game = ConnectFour()
    generator = torch.Generator().manual_seed(0)
    network = BoardNetwork(2, game.board, 7, CHANNELS, BLOCKS, generator)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    with torch.no_grad():  # heads that say something, so that trees are as deep as trained ones
        for weight in (network.heads.logits.weight, network.heads.value.weight):
            weight.normal_(0, 0.1, generator=generator)
    positions = Dice(game, 1).open_games(BATCH, MOVES)
    history = draw_histories(game, positions[:1])[0]
    sides: dict[str, Callable[[], Any]] = {
        "ours, 32": our_search(game, network, positions, simulations, 1),
        "ours, 32, 8 leaves": our_search(game, network, positions, simulations, 8),
        "ours, 1": our_search(game, network, positions[:1], simulations, 1),
        "ours, 1, 8 leaves": our_search(game, network, positions[:1], simulations, 8),
    }
    searched = {name: BATCH if "32" in name else 1 for name in sides}
    missing = []
    for name, module, make, number in (
        ("open_spiel, 1", "pyspiel", partial(open_spiel_search, network, history), 1),
        ("mctx, 32", "mctx", partial(mctx_search, network, list_boards(game, positions)), BATCH),
    ):
        if importlib.util.find_spec(module) is None:
            missing.append({"name": name, "figure": 0.0, "aim": "to run: it is not installed",
                            "holds": False})  # fmt: skip
            continue
        sides[name], searched[name] = make(simulations), number
    say(", ".join(sides))
    times = alternate(sides, rounds)
    per_search = {name: [t / searched[name] for t in each] for name, each in times.items()}
    ratios = {}
    for name, ours, theirs in zip(
        AIMS,
        ("ours, 1, 8 leaves", "ours, 1", "ours, 32", "ours, 32", "ours, 32, 8 leaves"),
        ("open_spiel, 1", "open_spiel, 1", "open_spiel, 1", "mctx, 32", "mctx, 32"),
        strict=True,
    ):
        if theirs in sides:
            ratios[name] = speed_up(per_search, ours, theirs)
    rate = rates(per_search, simulations)
    text = rate_table(rate, "simulations/s, connect four")
    finish(given.json, text, ratios, {"simulations_per_second": rate}, AIMS, missing)


if __name__ == "__main__":
    main()
