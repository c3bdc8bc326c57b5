"""The page on which a person accepts and rejects pairs, and what becomes of the marks."""
