#!/bin/sh
# The phantom benchmark, from the repository's root:
#   examples/phantom/run.sh                quick: base, DPO, RRPO, FiRe-MPO; one seed
#   examples/phantom/run.sh --full         all rows of the table, five seeds
#   examples/phantom/run.sh --search       learning rates, on the validation split
#   examples/phantom/run.sh --relatives    every objective of the package once, one seed, its learning rate searched first
#   examples/phantom/run.sh --rebuild-base the base model anew too
# PYTHON names the environment's interpreter; the same command goes on after a stop.
exec "${PYTHON:-python}" "$(dirname "$0")/run.py" "$@"
