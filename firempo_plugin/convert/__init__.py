"""Medical models as first released, to the classes of transformers and back."""
