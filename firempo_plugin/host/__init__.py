"""Everything that knows LLaMA-Factory; nothing else in the package does."""
