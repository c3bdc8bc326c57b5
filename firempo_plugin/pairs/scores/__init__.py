"""How good a response is beside the ground truth: one file for each way to say it as a number."""
