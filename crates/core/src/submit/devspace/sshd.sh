#!/bin/sh
# An sshd of its owner's own, on this node, for one key; made by `mizzen devspace up`. It ends with the job.
set -u
umask 077

say() { printf '%s\n' "$*" >&2; }

# Where the job has several tasks the first one serves; the others keep their share of the job.
if [ "${RANK:-0}" != 0 ]; then
    while :; do sleep 3600; done
fi

folder=${MIZZEN_JOB_DIR:?}/devspace
node=$(uname -n)
rm -rf "$folder" && mkdir "$folder" || {
    say "the folder $folder can't be made on $node"
    exit 1
}

# sshd must be called by its whole path.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
for program in sshd ssh-keygen awk od; do
    command -v "$program" >/dev/null || {
        say "there is no $program on $node${CONTAINER_NAME:+ in the container}"
        say "a devspace needs OpenSSH's server where the job runs: install openssh-server there (in the container's image, if there is one)"
        exit 127
    }
done
sshd=$(command -v sshd)

ssh-keygen -q -t ed25519 -N '' -C mizzen-devspace -f "$folder/host_key" </dev/null || exit
printf '%s\n' "${MIZZEN_DEVSPACE_KEY:?}" >"$folder/authorized_keys"
if [ "$(id -u)" = 0 ]; then mkdir -p /run/sshd 2>/dev/null; fi

tokens() { printf '%s' "$1" | sed 's/%/%%/g'; }

# Without PAM sshd lets nobody in whose password is marked as locked, as where passwords are kept elsewhere.
pam=no
for word in $({ getent shadow "$(id -un)"; getent passwd "$(id -un)"; } 2>/dev/null | cut -d : -f 2); do
    case $word in '!'*) pam=yes ;; esac
done

cat >"$folder/config" <<CONFIG
HostKey "$folder/host_key"
AuthorizedKeysFile "$(tokens "$folder")/authorized_keys"
PidFile "$folder/pid"
AuthenticationMethods publickey
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM $pam
AllowUsers $(id -un)
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
X11Forwarding no
PrintMotd no
ClientAliveInterval 30
ClientAliveCountMax 10
MaxSessions 100
Subsystem sftp internal-sftp
CONFIG

# Sessions get the job's environment: its variables, modules, devices and the scheduler's words.
if [ -n "${MIZZEN_DEVSPACE_PYTHONPATH:-}" ]; then
    export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
fi
unset MIZZEN_DEVSPACE_KEY MIZZEN_DEVSPACE_PYTHONPATH
awk 'BEGIN {
    for (name in ENVIRON) {
        value = ENVIRON[name]
        if (name !~ /^[A-Za-z_][A-Za-z0-9_]*$/ || value ~ /["\\\n\r]/) continue
        if (name ~ /^(PWD|OLDPWD|HOME|SHELL|USER|LOGNAME|TERM|SHLVL|MAIL|_|SSH_.*|RANK|LOCAL_RANK|AWK.*)$/) continue
        line = line " \"" name "=" value "\""
    }
    if (line != "") print "SetEnv" line
}' >"$folder/environment"
cp "$folder/config" "$folder/config.more" && cat "$folder/environment" >>"$folder/config.more"
# Before OpenSSH 7.8 there is no SetEnv.
if "$sshd" -t -f "$folder/config.more" 2>/dev/null; then
    mv "$folder/config.more" "$folder/config"
fi

server=
trap 'kill "$server" 2>/dev/null; exit 143' TERM INT HUP
tries=0
while :; do
    port=$(od -An -N2 -tu2 /dev/urandom)
    port=$((20000 + port % 12768))
    "$sshd" -D -f "$folder/config" -E "$folder/log" -p "$port" &
    server=$!
    # It writes its number once it listens.
    while [ ! -s "$folder/pid" ] && kill -0 "$server" 2>/dev/null; do sleep 0.1; done
    [ -s "$folder/pid" ] && break
    wait "$server"
    tries=$((tries + 1))
    if [ "$tries" = 20 ] || ! grep -q 'Address already in use' "$folder/log"; then
        say "sshd does not start on $node:"
        cat "$folder/log" >&2
        exit 1
    fi
    rm -f "$folder/log"
done
# The environment may hold what is nobody's business, and sshd has read it.
rm -f "$folder/config" "$folder/config.more" "$folder/environment"

{
    echo "user $(id -un)"
    echo "port $port"
    for host in "$node" "${MASTER_ADDR:-}" $(hostname -I 2>/dev/null); do
        if [ -n "$host" ]; then echo "host $host"; fi
    done
    read -r type key rest <"$folder/host_key.pub"
    echo "key $type $key"
} >"$folder/where.new"
mv "$folder/where.new" "$folder/where"
say "sshd listens on port $port of $node"

wait "$server"
status=$?
say "sshd has ended:"
tail -n 5 "$folder/log" >&2
exit "$status"
