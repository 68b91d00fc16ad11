"""Search in games: exact by minimax and alpha–beta, by sampling in trees (UCT, PUCT, Gumbel)."""
