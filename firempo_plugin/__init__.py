"""FiRe-MPO for LLaMA-Factory: phrase-level, visually grounded preference optimisation.

This module is imported by every Python process of the environment (see `host.autoload`), so it
holds nothing but the version.
"""

__version__ = "0.1.0"
