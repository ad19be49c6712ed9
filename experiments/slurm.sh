#!/usr/bin/env bash
# Runs `cosdt` as a Slurm job that survives its time limit and preemption: cosdt saves and stops when
# Slurm signals the end of its time, and the job is queued again and resumes.
#
#   sbatch experiments/slurm.sh train --preset original-hopper --dataset hopper-medium-v2 \
#     --out runs/hopper --resume
#   sbatch --array=0-7 experiments/slurm.sh compare --config sweep.toml --out runs/sweep
#   sbatch --nodes=4 --ntasks-per-node=2 --cpus-per-task=32 experiments/slurm.sh train \
#     --preset corl-hopper --dataset /shared/hopper-medium-v2.hdf5 --out runs/corl --resume
#
# The last one is one run of eight processes (experiments/distributed.md): every node reads the dataset, rank 0
# alone the run's folder. A process that is lost ends all with exit code 1; the job is not queued again then.
#
# `train` needs --resume to continue from what it saved. `compare` takes its share of the cells from
# the array's indices and says so (--shard 0/1 if they mean something else); its folder must be on a
# file system that all nodes share. COSDT names the program if it is not on the PATH.
#SBATCH --job-name=cosdt
#SBATCH --cpus-per-task=2
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# USR1 to the step, two minutes before the end
#SBATCH --signal=USR1@120
set -uo pipefail

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
srun "${COSDT:-cosdt}" "$@"
code=$?
case $code in
  # stopped by USR1 or TERM after saving
  138 | 143)
    echo "cosdt stopped with exit code $code: queued again"
    scontrol requeue "$SLURM_JOB_ID"
    ;;
esac
exit $code
