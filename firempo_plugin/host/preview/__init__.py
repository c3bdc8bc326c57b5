"""Looking at the pairs of a training set: every row as the trainer encodes it, or why it cannot be used."""
