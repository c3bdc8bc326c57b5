"""One command for a bare machine with one NVIDIA GPU; see README.md beside this."""
