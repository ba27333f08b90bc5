#!/bin/bash
# A run as an array of SLURM: each task begins with its share of the run, then helps with whatever is still open.
#
#   sbatch --array=0-7 pipelines/slurm/array.sh run photos.toml
#
# Whatever follows the script's name goes to `tilefleet`, and `--share auto` behind it. Options of `sbatch` before the
# script's name win over those below.
#SBATCH --job-name=tilefleet
#SBATCH --array=0-7
#SBATCH --cpus-per-task=1
#SBATCH --requeue
#SBATCH --open-mode=append
# A minute before the time limit, which is more than `run.grace`. SIGTERM means that the task is cancelled.
#SBATCH --signal=B:USR1@60

# So many times a task is queued again, then it fails.
most_restarts=${TILEFLEET_MOST_RESTARTS:-10}

again=no
"${TILEFLEET:-tilefleet}" "$@" --share auto &
worker=$!
# A trap waits for the command in the foreground; so the worker is in the background.
trap 'kill -TERM "$worker" 2>/dev/null' TERM INT
trap 'again=yes; kill -TERM "$worker" 2>/dev/null' USR1

# A signal ends `wait`, and not the worker.
wait "$worker"
code=$?
while kill -0 "$worker" 2>/dev/null; do
    wait "$worker"
    code=$?
done

# It could not go on, or was killed, as for want of memory: it goes on later. SLURM itself counts such an end as a failure.
case $code in 75 | 134 | 137 | 139) again=yes ;; esac
if [ $again = yes ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$most_restarts" ]; then
    echo "exit $code: this task is queued again (${SLURM_RESTART_COUNT:-0} times so far)" >&2
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" && exit 0
fi
exit "$code"
