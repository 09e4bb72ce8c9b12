#!/usr/bin/env bash
# A real SLURM of one node on loopback: slurm.sh start DIR | slurm.sh stop DIR. Needs root, and Debian's
#   apt-get install --no-install-recommends slurmctld slurmd slurm-client slurm-wlm-basic-plugins
# Use it with SLURM_CONF=DIR/slurm.conf in the environment. No munge and no accounting: for tests alone.
# Jobs of partition `high` preempt those of `low`, which SLURM requeues, and of `gentle`, which may end themselves.
set -euo pipefail
dir=$(realpath -m "$2")
export SLURM_CONF=$dir/slurm.conf
host=$(hostname -s)

case $1 in
start)
    mkdir -p "$dir/state" "$dir/spool"
    cat > "$SLURM_CONF" <<CONF
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/none
CredType=cred/none
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SchedulerParameters=batch_sched_delay=1,sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
KillWait=10
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=low Nodes=$host Default=YES MaxTime=60 State=UP PriorityTier=1 GraceTime=0 PreemptMode=REQUEUE
PartitionName=gentle Nodes=$host MaxTime=60 State=UP PriorityTier=1 GraceTime=8 PreemptMode=REQUEUE
PartitionName=high Nodes=$host MaxTime=60 State=UP PriorityTier=10 PreemptMode=OFF
CONF
    slurmctld -D > "$dir/slurmctld.out" 2>&1 & echo $! > "$dir/pids"
    slurmd -D -N "$host" > "$dir/slurmd.out" 2>&1 & echo $! >> "$dir/pids"
    for _ in $(seq 60); do
        if sinfo --noheader --format=%t 2> /dev/null | grep -q idle; then exit 0; fi
        sleep 0.5
    done
    tail -n 20 "$dir"/slurm*.out "$dir"/slurm*.log >&2
    exit 1
    ;;
stop)
    scancel --quiet --user="$(id -un)" || true
    for _ in $(seq 20); do
        if [ -z "$(squeue --noheader 2> /dev/null)" ]; then break; fi
        sleep 0.5
    done
    xargs kill < "$dir/pids"
    for _ in $(seq 20); do
        if ! xargs kill -0 < "$dir/pids" 2> /dev/null; then exit 0; fi
        sleep 0.5
    done
    xargs kill -KILL < "$dir/pids" || true
    ;;
*)
    echo "usage: $0 start|stop DIR" >&2
    exit 2
    ;;
esac
