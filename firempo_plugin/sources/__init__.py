"""Readers of medical question sets: `registry.SOURCES[name].read(options)` gives records, and problems."""
