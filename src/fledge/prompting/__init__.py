"""Ways of asking a model, each a small program over one that speaks, ours or an endpoint's."""
