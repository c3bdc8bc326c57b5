"""The stage: arguments, workflow, trainer, and what a run shows and keeps."""
