#!/usr/bin/env bash
#SBATCH --job-name=editinfinity
#SBATCH --gpus=1
#SBATCH --nodes=1
#SBATCH --mem=32G
#SBATCH --time=8:00:00
# Two minutes before the time is up Snakemake is told to stop; it leaves no lock and no half a file.
#SBATCH --signal=B:INT@120
#
# Many cases in one SLURM job: Snakemake runs inside the allocation, one stage at a time a GPU, and
# the model stays loaded between them. From the folder with the cases:
#
#   sbatch --time=4:00:00 profiles/slurm/allocation.sh --config cases=[one,two,three]
#
# Arguments go to Snakemake. Submitted again, it does what is left.
set -euo pipefail
GPUS=${SLURM_GPUS_ON_NODE:-1}
if [ -x .venv/bin/snakemake ]; then SNAKEMAKE=.venv/bin/snakemake; else SNAKEMAKE=snakemake; fi
# In this process's place, so that signals reach it.
exec "$SNAKEMAKE" --cores "$GPUS" --resources gpu="$GPUS" --rerun-incomplete "$@"
