"""The host's own engine as a model that answers."""
