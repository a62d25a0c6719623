#!/usr/bin/env bash
# A real Slurm of one's own on this machine: a controller, four nodes, a munge, if wanted accounting, all in one folder.
#
#   slurm.sh up DIR [--variant NAME] [--hold]   starts it, waits until its nodes are idle, prints `export SLURM_CONF=…`
#   slurm.sh down DIR                           ends exactly what `up` started, jobs included; the folder stays
#   slurm.sh stop DIR PART                      PART: controller, accounting (slurmdbd), database, munge, n1 … n4
#   slurm.sh start DIR PART
#   slurm.sh env DIR                            prints `export SLURM_CONF=…` again
#
# With --hold it stays, and takes everything down when its standard input ends: whoever has the other end of a pipe may die
# in any way and leaves nothing behind.
#
# Variants:
#   plain            nodes n1 … n4 with 8 CPUs (4 jobs may share one) and 2 GPUs that only count; no accounting: sacct fails
#   accounting       and slurmdbd with its own MariaDB: account `research`, its QOS `normal` and `few` (two jobs a user)
#   small            MaxArraySize=11, MaxJobCount=30, MinJobAge=2: what is big is refused, what ended is soon forgotten
#   preempt          partitions `low` and `high`; a job in `high` has those in `low` requeued
#   preempt-cancel   … has them cancelled
#
# It needs root, but no systemd, and nothing of /etc/slurm or of a munge or MariaDB that runs: ports are free ones, sockets,
# keys, states, logs and process ids stand in DIR. Several may run at once. DIR must be short (sockets) and under folders that
# others may enter (munge insists).
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin
NODES=(n1 n2 n3 n4)
VARIANTS='plain accounting small preempt preempt-cancel'
# What takes longer is broken.
LIMIT=60

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $1"
    shift
    for hint in "$@"; do say "hint: $hint"; done
    exit 1
}

usage() { fail "$1" "slurm.sh up DIR [--variant ${VARIANTS// /|}] [--hold] | down DIR | stop|start DIR PART | env DIR"; }

# Waits until a command succeeds, or $LIMIT seconds.
until_true() {
    local ends=$((SECONDS + LIMIT))
    until "$@"; do
        ((SECONDS < ends)) || return 1
        sleep 0.05
    done
}

# --- what is there -----------------------------------------------------------------------------------------------------

check_programs() {
    local program package missing=() wanted=()
    while read -r program package; do
        [[ $program == slurmdbd || $program == maria* ]] && [[ $variant != accounting ]] && continue
        command -v "$program" >/dev/null && continue
        missing+=("$program")
        wanted+=("$package")
    done <<'PROGRAMS'
slurmctld slurm-wlm
slurmd slurm-wlm
srun slurm-wlm
munged munge
setsid util-linux
slurmdbd slurmdbd
mariadbd mariadb-server
mariadb-install-db mariadb-server
PROGRAMS
    ((${#missing[@]} == 0)) || fail "missing: ${missing[*]}" "Debian's packages: ${wanted[*]}"
    ((EUID == 0)) || fail "Slurm's nodes start jobs as the users they belong to, so they need root" "run it as root"
}

# --- processes ---------------------------------------------------------------------------------------------------------

# What tells a process from a later one with its number: the number and when it started. Nothing for one that is over.
identity() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    # Behind the name, which may hold anything: the state first, and twenty words on the start.
    # shellcheck disable=SC2086 # words
    set -- "$1" ${stat##*) }
    [[ $2 == Z ]] || echo "$1 ${21}"
}

alive() {
    local known
    known=$(cat "$dir/run/$1" 2>/dev/null) && [[ -n $known && $known == "$(identity "${known% *}")" ]]
}

gone() { ! alive "$1"; }

# Starts a part: its name, and a command that stays in the foreground. Nothing of this shell goes with it.
begin() {
    local name=$1
    shift
    alive "$name" && return
    # A background command leads no group of processes, so that `setsid` becomes the command and keeps its number.
    env -i PATH="$PATH" LANG=C.UTF-8 HOME=/root SLURM_CONF="$dir/slurm.conf" setsid "$@" \
        </dev/null >>"$dir/log/$name.out" 2>&1 &
    identity $! >"$dir/run/$name"
}

# Ends a part, and waits until it has.
end() {
    local name=$1 pid
    if alive "$name"; then
        pid=$(<"$dir/run/$name")
        pid=${pid% *}
        kill "$pid" 2>/dev/null || true
        if ! LIMIT=15 until_true gone "$name"; then
            kill -KILL "$pid" 2>/dev/null || true
            until_true gone "$name" || fail "$name ($pid) does not end"
        fi
    fi
    rm -f "$dir/run/$name"
}

# The watchers of jobs outlive the nodes' daemons. They have the nodes' log open, by which they are known.
stepds() {
    local pid
    for pid in $(cd /proc && grep -lx slurmstepd -- [0-9]*/comm 2>/dev/null); do
        pid=${pid%/comm}
        # shellcheck disable=SC2012 # links, not names
        ls -l "/proc/$pid/fd" 2>/dev/null | grep -qF -- "-> $dir/" && echo "$pid"
    done
    return 0
}

# A process and those it started.
family() {
    local child
    for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do family "$child"; done
    echo "$1"
}

no_stepds() { [[ -z $(stepds) ]]; }

end_jobs() {
    local pid
    alive controller && timeout 10 scancel --signal=KILL --full --state=RUNNING 2>/dev/null || true
    alive controller && timeout 10 scancel --user=root 2>/dev/null || true
    LIMIT=5 until_true no_stepds && return
    for pid in $(stepds); do
        # shellcheck disable=SC2046 # process ids
        kill -KILL $(family "$pid") 2>/dev/null || true
    done
}

# --- configuration -----------------------------------------------------------------------------------------------------

# Ten ports in a row that nobody has, below those that connections get by themselves.
choose_ports() {
    local port used
    used=$(sed -nE 's/^ *[0-9]+: [0-9A-F]+:([0-9A-F]{4}) .*/\1/p' /proc/net/tcp /proc/net/tcp6 2>/dev/null | sort -u)
    while :; do
        ports=$((10000 + (RANDOM % 2200) * 10))
        for ((port = ports; port < ports + 10; port++)); do
            grep -qx "$(printf '%04X' "$port")" <<<"$used" && continue 2
        done
        return 0
    done
}

write_config() {
    local host gpu more='' partitions
    host=$(hostname -s)
    # Other jobs may share a CPU: tests that run at once need not wait for each other.
    partitions='PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4'
    case $variant in
    small) more=$'MaxArraySize=11\nMaxJobCount=30\nMinJobAge=2' ;;
    preempt*)
        more="PreemptType=preempt/partition_prio"$'\n'"PreemptMode=REQUEUE"
        if [[ $variant == preempt-cancel ]]; then more="${more/REQUEUE/CANCEL}"; fi
        partitions='PartitionName=low Nodes=ALL Default=YES PriorityTier=1 MaxTime=INFINITE State=UP OverSubscribe=NO
PartitionName=high Nodes=ALL PriorityTier=10 MaxTime=INFINITE State=UP OverSubscribe=NO PreemptMode=OFF'
        ;;
    esac
    if [[ $variant == accounting ]]; then
        more="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((ports + 5))
AccountingStoragePass=$dir/munge/socket
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1"
    else
        more+=$'\nAccountingStorageType=accounting_storage/none'
    fi

    cat >"$dir/slurm.conf" <<CONF
# Written by scripts/slurm.sh, variant $variant.
ClusterName=mizzen
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$ports
SlurmUser=root
AuthType=auth/munge
# A requeued job starts again after cred_expire seconds at the earliest; 120 is usual.
AuthInfo=socket=$dir/munge/socket,cred_expire=10
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd-%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
# This machine may be smaller than its nodes say.
SlurmdParameters=config_overrides
# Comes back by itself if it was lost, but not if it was set down.
ReturnToService=1
SlurmdTimeout=60
# Also how long a command waits for a controller that is not there.
MessageTimeout=10
KillWait=5
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/log/jobcomp.txt
GresTypes=gpu
$more
NodeName=n[1-4] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((ports + 1))-$((ports + 4))] CPUs=8 RealMemory=16000 Gres=gpu:2
$partitions
CONF
    # A device that is none; where none can be made any file does, but Slurm then sets no CUDA_VISIBLE_DEVICES.
    for gpu in "$dir"/gpu{0,1}; do
        [[ -e $gpu ]] || mknod -m 0666 "$gpu" c 1 3 2>/dev/null || touch "$gpu"
    done
    echo "NodeName=n[1-4] Name=gpu File=$dir/gpu[0-1]" >"$dir/gres.conf"

    [[ $variant == accounting ]] || return 0
    (umask 077 && cat >"$dir/slurmdbd.conf") <<CONF
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((ports + 5))
SlurmUser=root
PidFile=$dir/run/slurmdbd-own.pid
LogFile=$dir/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((ports + 6))
StorageUser=slurm
StoragePass=$password
StorageLoc=slurm_acct
CONF
}

# --- parts -------------------------------------------------------------------------------------------------------------

# These wait until the part answers, and fail if it ended.
start_munge() {
    begin munge munged --foreground --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" \
        --pid-file="$dir/munge/pid" --log-file="$dir/log/munged.log" --seed-file="$dir/munge/seed"
    until_true answers munge munge_answers && munge_answers
}

start_database() {
    begin database mariadbd --no-defaults --user=root --datadir="$dir/database/data" --socket="$dir/database/socket" \
        --pid-file="$dir/database/pid" --bind-address=127.0.0.1 --port=$((ports + 6)) --skip-name-resolve \
        --init-file="$dir/database/init.sql" --innodb-buffer-pool-size=32M --innodb-flush-log-at-trx-commit=0
    until_true answers database listens $((ports + 6)) && listens $((ports + 6))
}

start_accounting() {
    begin accounting slurmdbd -D
    until_true answers accounting listens $((ports + 5)) && listens $((ports + 5))
}

start_controller() {
    begin controller slurmctld -D -f "$dir/slurm.conf"
    until_true answers controller controller_answers && controller_answers
}

start_node() { begin "$1" slurmd -D -N "$1" -f "$dir/slurm.conf"; }

# True once the command is, or the part has ended.
answers() {
    local name=$1
    shift
    "$@" || gone "$name"
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
munge_answers() { munge --no-input --socket="$dir/munge/socket" >/dev/null 2>&1; }
controller_answers() { timeout 5 scontrol ping 2>/dev/null | grep -q 'is UP'; }
all_idle() { [[ $(timeout 5 sinfo --noheader --Node --format='%N %T' 2>/dev/null | sort -u | grep -c ' idle$') == "${#NODES[@]}" ]]; }

# Starts everything, in the order in which one needs the other. False if a part ended at once, as with a port that was taken.
start_all() {
    local node
    start_munge || return
    if [[ $variant == accounting ]]; then
        start_database || return
        start_accounting || return
        # A cluster is known before its controller comes.
        sacctmgr --immediate add cluster mizzen >/dev/null || return
        sacctmgr --immediate add account research Cluster=mizzen >/dev/null || return
        sacctmgr --immediate add qos few MaxSubmitJobsPerUser=2 >/dev/null || return
        sacctmgr --immediate add user root Account=research Cluster=mizzen QOS=normal,few DefaultQOS=normal >/dev/null || return
        sacctmgr --immediate modify user root set DefaultAccount=research >/dev/null || return
    fi
    start_controller || return
    for node in "${NODES[@]}"; do start_node "$node"; done
    until_true settled && all_idle
}

settled() {
    local node
    all_idle && return
    for node in "${NODES[@]}"; do gone "$node" && return; done
    gone controller
}

stop_all() {
    local node
    end_jobs
    for node in "${NODES[@]}"; do end "$node"; done
    end controller
    end accounting
    end database
    end munge
}

# --- commands ----------------------------------------------------------------------------------------------------------

up() {
    check_programs
    [[ ! -e $dir/slurm.conf ]] || fail "$dir holds a cluster already" "slurm.sh down $dir, and remove the folder"
    mkdir -p "$dir"
    chmod 0755 "$dir"
    mkdir -p "$dir"/{munge,state,spool,log,run}
    ((${#dir} <= 70)) || fail "$dir is too long a path for sockets" "choose one of at most 70 letters"
    head -c 1024 /dev/urandom >"$dir/munge/key"
    chmod 0600 "$dir/munge/key"
    chmod 0755 "$dir/munge"
    export SLURM_CONF=$dir/slurm.conf
    if [[ $variant == accounting ]]; then make_database; fi

    local tries=0
    # Even an interrupted start leaves nothing.
    trap 'stop_all; exit 1' INT TERM HUP
    while :; do
        choose_ports
        write_config
        start_all && break
        stop_all
        if ((++tries == 3)); then
            tail -n 20 "$dir"/log/*.out >&2 || true
            fail "the cluster does not start" "its logs are in $dir/log"
        fi
        rm -rf "${dir:?}"/{state,spool,log}/*
    done
    trap - INT TERM HUP
}

make_database() {
    mkdir -m 0700 "$dir/database"
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    mariadb-install-db --no-defaults --user=root --datadir="$dir/database/data" --auth-root-authentication-method=normal \
        --skip-test-db >"$dir/log/mariadb-install-db.out" 2>&1 || fail "no database can be made: see $dir/log/mariadb-install-db.out"
    (umask 077 && cat >"$dir/database/init.sql") <<SQL
CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY '$password';
GRANT ALL ON slurm_acct.* TO slurm@'127.0.0.1';
SQL
}

# The part that somebody named.
part() {
    local verb=$1 name=$2
    case $name in
    controller | accounting | database | munge | n[1-4]) ;;
    *) usage "there is no part \`$name\`" ;;
    esac
    if [[ $verb == stop ]]; then
        end "$name"
        return 0
    fi
    ports=$(sed -n 's/^SlurmctldPort=//p' "$dir/slurm.conf")
    case $name in
    n?) start_node "$name" ;;
    *) "start_$name" || fail "$name does not start" "its log is $dir/log/$name.out" ;;
    esac
}

main() {
    local command=${1:-} hold='' name=''
    (($# >= 2)) || usage "a command and a folder are needed"
    dir=$2
    shift 2
    variant=plain
    while (($# > 0)); do
        case $1 in
        --variant)
            variant=${2:-}
            [[ " $VARIANTS " == *" $variant "* && -n $variant ]] || usage "there is no variant \`$variant\`"
            shift
            ;;
        --hold) hold=yes ;;
        -*) usage "what is \`$1\`?" ;;
        *) name=$1 ;;
        esac
        shift
    done
    if [[ $command != up ]]; then
        dir=$(realpath -e "$dir" 2>/dev/null) && [[ -e $dir/slurm.conf ]] || fail "there is no cluster in that folder"
        export SLURM_CONF=$dir/slurm.conf
    fi
    case $command in
    up)
        dir=$(realpath -m "$dir")
        up
        printf 'export SLURM_CONF=%q\n' "$SLURM_CONF"
        [[ -n $hold ]] || return 0
        exec >/dev/null
        trap 'stop_all; exit 0' INT TERM HUP
        # Whoever holds the other end lets go, or is no more. In the background, so that signals are heard meanwhile.
        cat >/dev/null <&0 &
        wait $! || true
        stop_all
        ;;
    down) stop_all ;;
    stop | start) part "$command" "$name" ;;
    env) printf 'export SLURM_CONF=%q\n' "$SLURM_CONF" ;;
    *) usage "there is no command \`$command\`" ;;
    esac
}

main "$@"
