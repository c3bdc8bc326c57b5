"""From medical questions to preference pairs; knows no trainer, and loads torch only in steps that need it."""
