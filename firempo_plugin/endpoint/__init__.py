"""Asking a model over an OpenAI-compatible API: cached, limited, within a budget, and without telling the key."""
