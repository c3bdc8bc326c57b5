"""What a training will cost, counted before it starts: no weight is loaded, and nothing is run."""
