"""Round after round: the model's own answers, pairs of them, training on these, and what validation says of it."""
