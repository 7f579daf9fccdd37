#!/usr/bin/env bash
# Start a Slurm of one node on this machine, for the tests: ./start_slurm.sh [FOLDER]
# FOLDER (default: facegraph-slurm in the folder for temporary files) gets configuration, state and logs. Debian's slurm-wlm
# and munge are installed first where that is possible; no service file and no configuration under /etc is changed.
# stdout: path of slurm.conf, for SLURM_CONF. Running it again changes nothing.
# Exit codes: 0 it runs, 3 it cannot be had here (no root, no apt, no packages; the reason is on stderr), 1 it did not start.
set -euo pipefail

FOLDER=${1:-${TMPDIR:-/tmp}/facegraph-slurm}
CONF=$FOLDER/slurm.conf
CPUS=4 # more than a small machine has: tasks share them, and jobs of two tasks still fit
PARTS=(munged slurmctld slurmd sbatch srun)

unavailable() {
  echo "no Slurm here: $1" >&2
  exit 3
}

install_packages() {
  command -v apt-get >/dev/null || unavailable "$(missing_parts | xargs) missing, and there is no apt-get to install slurm-wlm and munge with"
  export DEBIAN_FRONTEND=noninteractive
  local -a quiet=(-qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=60)
  if ! timeout 60 apt-get "${quiet[@]}" update >&2; then
    echo "apt-get update failed; trying with the lists there are" >&2
  fi
  timeout 150 apt-get "${quiet[@]}" install -y --no-install-recommends slurm-wlm munge >&2 ||
    unavailable "apt-get could not install slurm-wlm and munge"
}

missing_parts() {
  local part
  for part in "${PARTS[@]}"; do command -v "$part" >/dev/null || echo "$part"; done
}

free_ports() { # two, so that another Slurm of the tests may run on this machine
  python3 -c 'import socket
places = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(place.getsockname()[1] for place in places))'
}

write_configuration() {
  rm -rf "$FOLDER"/{state,spool,log}
  mkdir -p "$FOLDER"/{state,spool,log}
  local host controller_port node_port
  host=$(hostname -s)
  read -r controller_port node_port < <(free_ports)
  cat >"$CONF" <<CONFIGURATION
ClusterName=facegraph
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
SlurmctldPort=$controller_port
SlurmdPort=$node_port
StateSaveLocation=$FOLDER/state
SlurmdSpoolDir=$FOLDER/spool
SlurmctldPidFile=$FOLDER/slurmctld.pid
SlurmdPidFile=$FOLDER/slurmd.pid
SlurmctldLogFile=$FOLDER/log/slurmctld.log
SlurmdLogFile=$FOLDER/log/slurmd.log
MpiDefault=none
MailProg=/bin/true
# what needs neither cgroups nor a daemon for accounts
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
# the tests wait for it: look for work often, kill soon
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
KillWait=5
MinJobAge=300
ReturnToService=2
SlurmdParameters=config_overrides
JobRequeue=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=$CPUS State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONFIGURATION
}

start_munge() {
  munge -n </dev/null >/dev/null 2>&1 && return
  if [[ ! -s /etc/munge/munge.key ]]; then
    mungekey --create --force >&2 || dd if=/dev/urandom of=/etc/munge/munge.key bs=128 count=1 status=none
    chown munge:munge /etc/munge/munge.key && chmod 400 /etc/munge/munge.key
  fi
  install -d -o munge -g munge -m 0755 /run/munge
  runuser -u munge -- munged --force >&2
}

running() { [[ -s $1 ]] && kill -0 "$(cat "$1")" 2>/dev/null; }

wait_until() { # SECONDS COMMAND...
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.5
  done
}

idle() { [[ $(sinfo -h -o %T 2>/dev/null) =~ ^(idle|mixed|allocated|completing)$ ]]; }

if [[ -n $(missing_parts) ]]; then
  ((EUID == 0)) || unavailable "$(missing_parts | xargs) missing, and only root can install slurm-wlm and munge"
  install_packages
  [[ -z $(missing_parts) ]] || unavailable "$(missing_parts | xargs) missing after the installation"
fi
((EUID == 0)) || unavailable "its daemons need root"

export SLURM_CONF=$CONF
if ! { running "$FOLDER/slurmctld.pid" && running "$FOLDER/slurmd.pid" && idle; }; then
  "$(dirname "$0")/stop_slurm.sh" "$FOLDER"
  write_configuration
  start_munge
  wait_until 60 bash -c 'munge -n </dev/null >/dev/null 2>&1' || { echo "munged does not answer" >&2; exit 1; }
  slurmctld -c >&2 # -c: what an earlier start queued is nobody's any more
  slurmd >&2
  if ! wait_until 120 idle; then
    echo "slurmd did not come up; the ends of its logs:" >&2
    sinfo -R >&2 || true
    grep -h error: "$FOLDER"/log/*.log | grep -v pmix | tail -n 20 >&2
    exit 1
  fi
fi
echo "$CONF"
