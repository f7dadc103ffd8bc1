#!/usr/bin/env bash
# with_slurm.sh COMMAND…: run a command beside a throw-away SLURM cluster, and end with its status.
#
# Three nodes on this machine, one fake GPU each, in mount, network and process namespaces of their
# own: nothing outside is seen or changed, and all of it ends with the command. No systemd, no
# cgroups, no accounting. Needs root and Debian's packages slurmctld slurmd slurm-client munge
# iproute2. There is no network inside.
#
# NODES (3) and GPUS (1 a node) change the cluster. The command finds its folder in
# EDITINFINITY_TEST_CLUSTER, with the daemons' logs in log/.
set -euo pipefail
for program in slurmctld slurmd squeue munged unshare ip; do
  command -v "$program" >/dev/null || {
    echo "with_slurm.sh: there is no $program; apt-get install slurmctld slurmd slurm-client munge iproute2" >&2
    exit 77
  }
done
if [ -z "${WITH_SLURM_INSIDE:-}" ]; then
  CLUSTER=$(mktemp -d "${TMPDIR:-/tmp}/slurm.XXXXXX")
  chmod 755 "$CLUSTER"
  trap 'rm -rf "$CLUSTER"' EXIT
  export CLUSTER WITH_SLURM_INSIDE=1
  unshare --mount --net --pid --fork --kill-child=KILL --mount-proc --propagation private -- "$0" "$@"
  exit
fi
unset WITH_SLURM_INSIDE SLURM_CONF
NODES=${NODES:-3} GPUS=${GPUS:-1} HOST=$(hostname -s)
mkdir -p "$CLUSTER"/{etc,state,run,log,spool,dev} /etc/slurm /run/munge
ip link set lo up
# Names resolve only where some address besides 127.0.0.1 is configured (AI_ADDRCONFIG).
ip addr add 127.0.0.2/8 dev lo
# The executor plugin drops SLURM_CONF in jobs, whose srun then reads the default place.
mount --bind "$CLUSTER/etc" /etc/slurm
mount -t tmpfs -o mode=755 tmpfs /run/munge
(umask 077; head -c 1024 /dev/urandom >"$CLUSTER/etc/munge.key")
munged --force --key-file=/etc/slurm/munge.key --pid-file="$CLUSTER/run/munged.pid" \
  --log-file="$CLUSTER/log/munged.log" --seed-file="$CLUSTER/run/munged.seed" 2>>"$CLUSTER/log/munged.err"
: >/etc/slurm/plugstack.conf
cat >/etc/slurm/slurm.conf <<CONF
ClusterName=toy
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=26817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$CLUSTER/state
SlurmdSpoolDir=$CLUSTER/spool/%n
SlurmctldPidFile=$CLUSTER/run/slurmctld.pid
SlurmdPidFile=$CLUSTER/run/slurmd-%n.pid
SlurmctldLogFile=$CLUSTER/log/slurmctld.log
SlurmdLogFile=$CLUSTER/log/slurmd-%n.log
PlugStackConfig=/etc/slurm/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
MpiDefault=none
MailProg=/bin/true
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
GresTypes=gpu
SlurmdParameters=config_overrides
EnforcePartLimits=ALL
ReturnToService=2
MinJobAge=3600
SlurmdTimeout=15
KillWait=5
JobRequeue=0
DefMemPerCPU=512
CONF
for node in $(seq "$NODES"); do
  echo "NodeName=n$node NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$((26820 + node)) CPUs=4 Boards=1" \
    "SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=64000 Gres=gpu:$GPUS State=UNKNOWN" \
    >>/etc/slurm/slurm.conf
  for gpu in $(seq 0 $((GPUS - 1))); do
    # A twin of /dev/null; the number that ends the name is the GPU's index.
    mknod "$CLUSTER/dev/n$node-nvidia$gpu" c 1 3
    echo "NodeName=n$node Name=gpu File=$CLUSTER/dev/n$node-nvidia$gpu" >>/etc/slurm/gres.conf
  done
done
echo "PartitionName=main Nodes=ALL Default=YES MaxTime=1440 DefaultTime=10 State=UP" >>/etc/slurm/slurm.conf
slurmctld
for node in $(seq "$NODES"); do slurmd -N "n$node"; done
idle() { [ "$(sinfo -h -N -t idle -o %N 2>/dev/null | wc -l)" -eq "$NODES" ]; }
for _ in $(seq 150); do idle && break; sleep 0.2; done
idle || { sinfo -N -o '%N %T %E'; tail -n 30 "$CLUSTER"/log/*.log; exit 1; } >&2
export EDITINFINITY_TEST_CLUSTER=$CLUSTER
status=0
"$@" || status=$?
# First process of its namespace: when it ends, the kernel ends all the others.
exit "$status"
