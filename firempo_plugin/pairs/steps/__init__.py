"""The steps from a response to a noised image."""
