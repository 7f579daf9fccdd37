#!/usr/bin/env bash
# Stop the Slurm that start_slurm.sh started: ./stop_slurm.sh [FOLDER]. munged stays: it may have run before.
set -euo pipefail

FOLDER=${1:-${TMPDIR:-/tmp}/facegraph-slurm}

if [[ -s $FOLDER/slurmctld.pid ]]; then
  SLURM_CONF=$FOLDER/slurm.conf timeout 10 scancel --full --state=RUNNING,PENDING >/dev/null 2>&1 || true
fi
for daemon in slurmd slurmctld; do
  file=$FOLDER/$daemon.pid
  [[ -s $file ]] || continue
  pid=$(cat "$file")
  # a number in an old file may be somebody else's process by now
  [[ $(cat "/proc/$pid/comm" 2>/dev/null) == "$daemon" ]] || { rm -f "$file"; continue; }
  kill "$pid"
  for _ in $(seq 40); do kill -0 "$pid" 2>/dev/null || break; sleep 0.25; done
  rm -f "$file"
done
