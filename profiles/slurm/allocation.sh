#!/usr/bin/env bash
#SBATCH --job-name=editinfinity
#SBATCH --gpus=1
#SBATCH --nodes=1
#SBATCH --mem=32G
#SBATCH --time=8:00:00
# SIGINT two minutes before the time limit: Snakemake stops without leaving locks or partial files.
#SBATCH --signal=B:INT@120
#
# Many cases in one SLURM job: Snakemake runs inside the allocation, one stage at a time per
# GPU, and the model stays loaded between stages. Run in the folder with the cases:
#
#   sbatch --time=4:00:00 profiles/slurm/allocation.sh --config cases=[one,two,three]
#
# Arguments are passed to Snakemake. If submitted again, it continues with the remaining jobs.
set -euo pipefail
GPUS=${SLURM_GPUS_ON_NODE:-1}
if [ -x .venv/bin/snakemake ]; then SNAKEMAKE=.venv/bin/snakemake; else SNAKEMAKE=snakemake; fi
# exec, so that signals reach Snakemake.
exec "$SNAKEMAKE" --cores "$GPUS" --resources gpu="$GPUS" --rerun-incomplete "$@"
