"""From a batch of rows to scored tokens: which sequences to run, and how to run them under a model."""
