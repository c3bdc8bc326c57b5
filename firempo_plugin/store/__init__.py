"""One folder is one build or evaluation: what was made is found again, what is due is made."""
