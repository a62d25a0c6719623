#!/usr/bin/env bash
# A real Docker engine of one's own on this machine, and a Podman with storage of its own, with small images, all in one folder.
#
#   docker.sh up DIR [--hold]       starts it, waits until it answers, makes its images, prints `export DOCKER_HOST=… MIZZEN_TEST_PODMAN=…`
#   docker.sh down DIR              ends exactly what `up` started, containers included; the folder goes
#   docker.sh stop DIR              stops the engine as an administrator would; what it keeps stays
#   docker.sh start DIR             starts it again
#   docker.sh registry DIR          starts a registry that the engine reaches at 127.0.0.1:5000, and nobody else; it ends with `down`
#   docker.sh env DIR               prints the same as `up` again
#
# With --hold it stays, and takes everything down when its standard input ends: whoever has the other end of a pipe may die
# in any way and leaves nothing behind.
#
# Images, made here, since tests reach no registry but their own:
#   mizzen-test/busybox    BusyBox and a /tmp
#   mizzen-test/empty      one program without a shell: /bin/true
#   mizzen-test/python     the Python of this machine with its standard library
#   mizzen-test/arm64      says that it is for another processor, and so do its programs
#   mizzen-test/entry      has an entry point that sets a variable, and a user of its own
#
# It needs root, but no systemd. The engine runs in network and mount namespaces of its own: its bridges, rules and mounts are
# nobody else's, and go with it. Several may run at once. DIR must be short (sockets).
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin
# What takes longer is broken.
LIMIT=60

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $1"
    shift
    for hint in "$@"; do say "hint: $hint"; done
    exit 1
}

usage() { fail "$1" "docker.sh up DIR [--hold] | down DIR | stop DIR | start DIR | registry DIR | env DIR"; }

# Waits until a command succeeds, or $LIMIT seconds.
until_true() {
    local ends=$((SECONDS + LIMIT))
    until "$@"; do
        ((SECONDS < ends)) || return 1
        sleep 0.05
    done
}

check_programs() {
    local program package missing=() wanted=()
    while read -r program package; do
        command -v "$program" >/dev/null && continue
        missing+=("$program")
        wanted+=("$package")
    done <<'PROGRAMS'
dockerd docker.io
docker docker.io
podman podman
runc runc
busybox busybox-static
unshare util-linux
ip iproute2
nsenter util-linux
docker-registry docker-registry
PROGRAMS
    ((${#missing[@]} == 0)) || fail "missing: ${missing[*]}" "apt-get install ${wanted[*]}   (the names are Debian's)"
    ((EUID == 0)) || fail "it needs root"
    file_is_static "$(command -v busybox)" || fail "busybox needs shared libraries" "apt-get install busybox-static"
}

file_is_static() { ! ldd "$1" >/dev/null 2>&1; }

docker_here() { docker --host "unix://$dir/docker.sock" "$@"; }

answers() { docker_here version >/dev/null 2>&1; }

gone() { ! kill -0 "$1" 2>/dev/null; }

start_engine() {
    # The namespaces end with the last process in them. Mounts made outside are seen inside, not the other way round.
    setsid unshare --net --mount --propagation slave bash -c '
        ip link set lo up
        exec dockerd --host "unix://$1/docker.sock" --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/dockerd.pid" \
            --iptables=false --ip6tables=false --shutdown-timeout 3 >>"$1/dockerd.log" 2>&1' _ "$dir" </dev/null &
    until_true answers || fail "the engine does not answer: $(tail -n 3 "$dir/dockerd.log")"
}

# The number in a file may be another process's by now.
is_ours() { tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -qF "$dir/docker.sock"; }

stop_engine() {
    local pid
    [[ -s $dir/dockerd.pid ]] || return 0
    pid=$(<"$dir/dockerd.pid")
    is_ours "$pid" || return 0
    kill "$pid"
    until_true gone "$pid" || kill -KILL "$pid"
}

# The engine trusts a registry on its own loopback without a certificate.
start_registry() {
    cat >"$dir/registry.yml" <<CONF
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $dir/registry}}
http: {addr: "127.0.0.1:5000"}
CONF
    setsid nsenter --net --target "$(<"$dir/dockerd.pid")" docker-registry serve "$dir/registry.yml" </dev/null >"$dir/registry.log" 2>&1 &
    echo $! >"$dir/registry.pid"
    until_true grep -qs ':1388 ' "/proc/$!/net/tcp" || fail "the registry does not start: $(tail -n 3 "$dir/registry.log")"
}

stop_registry() {
    local pid
    [[ -s $dir/registry.pid ]] || return 0
    pid=$(<"$dir/registry.pid")
    if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$dir/registry.yml"; then
        kill "$pid"
        until_true gone "$pid" || kill -KILL "$pid"
    fi
}

# What an engine that was killed has left: its containers, and those beside them. Nobody else sees these mounts.
kill_rest() {
    local process
    for process in /proc/[0-9]*; do
        if grep -qsF "$dir/data/" "$process/mountinfo"; then
            kill -KILL "${process#/proc/}" 2>/dev/null || true
        fi
    done
}

# --- images ------------------------------------------------------------------------------------------------------------

make_busybox() {
    local root=$1 name
    mkdir -p "$root"/{bin,etc,tmp,root,proc,dev,sys}
    chmod 1777 "$root/tmp"
    cp "$(command -v busybox)" "$root/bin/busybox"
    for name in $("$root/bin/busybox" --list); do
        [[ $name == busybox ]] || ln -sf busybox "$root/bin/$name"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\napp:x:1234:1234:app:/tmp:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\napp:x:1234:\n' >"$root/etc/group"
}

# The interpreter behind whatever `python3` is, its standard library, and the shared libraries that they need.
make_python() {
    local root=$1 python prefix library
    make_busybox "$root"
    python=$(python3 -c 'import os, sys; print(os.path.realpath(sys._base_executable))')
    library=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
    prefix=$(python3 -c 'import sys; print(sys.base_prefix)')
    mkdir -p "$root$prefix/bin" "$root$(dirname "$library")"
    cp "$python" "$root$prefix/bin/python3"
    tar -C "$(dirname "$library")" -cf - --exclude=site-packages --exclude=dist-packages --exclude=test --exclude=__pycache__ \
        --exclude='config-*' --exclude=ensurepip --exclude=idlelib --exclude=lib2to3 "$(basename "$library")" |
        tar -C "$root$(dirname "$library")" -xf -
    { ldd "$python"; find "$root$library" -name '*.so' -exec ldd {} + 2>/dev/null; } |
        awk '/=> \// { print $3 } $1 ~ /^\// && /ld-/ { print $1 }' | sort -u |
        while read -r needed; do
            [[ $needed == "$root"* ]] || { mkdir -p "$root$(dirname "$needed")" && cp -L "$needed" "$root$needed"; }
        done
    ln -sf "$prefix/bin/python3" "$root/bin/python3"
}

import() {
    local name=$1 root=$2
    shift 2
    tar -C "$root" -cf - . | docker_here import "$@" - "mizzen-test/$name" >/dev/null
}

make_images() {
    local images=$dir/images
    mkdir -p "$images"
    make_busybox "$images/busybox"
    import busybox "$images/busybox" --change 'ENV PATH=/bin' --change 'ENV FROM_IMAGE=yes'
    mkdir -p "$images/empty/bin"
    cp "$(command -v busybox)" "$images/empty/bin/true"
    import empty "$images/empty"
    make_python "$images/python"
    import python "$images/python" --change 'ENV PATH=/bin'
    # 183 is the number of 64-bit ARM in the header of a program.
    make_busybox "$images/arm64"
    printf '\267\000' | dd of="$images/arm64/bin/busybox" bs=1 seek=18 conv=notrunc status=none
    import arm64 "$images/arm64" --platform linux/arm64 --change 'ENV PATH=/bin'
    make_busybox "$images/entry"
    printf '#!/bin/sh\nexport FROM_ENTRY_POINT=yes\nexec "$@"\n' >"$images/entry/entry.sh"
    chmod 755 "$images/entry/entry.sh"
    import entry "$images/entry" --change 'ENV PATH=/bin' --change 'ENTRYPOINT ["/entry.sh"]' --change 'USER app'
    tar -C "$images/busybox" -cf - . | "$dir/podman" import --change 'ENV PATH=/bin' - mizzen-test/busybox >/dev/null 2>&1 ||
        fail "podman takes no image: $("$dir/podman" info 2>&1 | tail -n 1)"
    rm -rf "$images"
}

# Podman's program with storage of its own. What the machine allows is less than its defaults ask for.
make_podman() {
    cat >"$dir/containers.conf" <<CONF
[containers]
netns = "host"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
CONF
    cat >"$dir/podman" <<PODMAN
#!/bin/sh
export CONTAINERS_CONF='$dir/containers.conf'
exec $(command -v podman) --root '$dir/podman-data' --runroot '$dir/podman-run' --tmpdir '$dir/podman-tmp' "\$@"
PODMAN
    chmod 755 "$dir/podman"
}

# --- commands ----------------------------------------------------------------------------------------------------------

print_env() { printf "export DOCKER_HOST='unix://%s/docker.sock' MIZZEN_TEST_PODMAN='%s/podman'\n" "$dir" "$dir"; }

up() {
    check_programs
    mkdir -p "$dir"
    chmod 755 "$dir"
    make_podman
    start_engine
    make_images
    print_env
}

down() {
    local containers mounted
    [[ -d $dir ]] || return 0
    if answers; then
        containers=$(docker_here ps --all --quiet)
        # shellcheck disable=SC2086 # several words
        [[ -z $containers ]] || docker_here rm --force $containers >/dev/null 2>&1 || true
    fi
    stop_registry
    stop_engine
    kill_rest
    if [[ -x $dir/podman ]]; then "$dir/podman" rm --all --force --time 0 >/dev/null 2>&1 || true; fi
    while read -r mounted; do umount --lazy "$mounted" 2>/dev/null || true; done < <(awk -v dir="$dir/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r)
    rm -rf "$dir"
}

command=${1:-}
dir=${2:-}
[[ -n $command && -n $dir ]] || usage "a command and a folder are needed"
dir=$(realpath -m "$dir")
case $command in
up)
    trap 'down' EXIT
    up
    if [[ ${3:-} == --hold ]]; then
        # Closed, so that whoever reads the lines above sees their end.
        exec >&-
        cat >/dev/null || true
    else
        trap - EXIT
    fi
    ;;
down) down ;;
stop) stop_engine ;;
start) start_engine ;;
registry) start_registry ;;
env) print_env ;;
*) usage "there is no command $command" ;;
esac
