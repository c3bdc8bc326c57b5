"""The first run: real scans from installed packages, hand-written pairs, and a tiny Qwen3-VL."""
