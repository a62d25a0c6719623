#!/usr/bin/env bash
# Everything that must pass, the quick things first. Works from any folder. As root on Debian or Ubuntu it installs what
# is missing; otherwise it says what to install. With CI=true a missing tool is a failure; else its step is skipped, and said so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

skipped=()

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $1"
    shift
    for hint in "$@"; do say "hint: $hint"; done
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# Runs a step and says how long it took.
step() {
    local name=$1 began=$SECONDS
    shift
    say "==> $name"
    if ! "$@"; then fail "$name failed" "again by itself: $*"; fi
    say "    $name: $((SECONDS - began)) s"
}

# A step whose tool is not there: a failure where all must be checked, else a word at the end.
skip() {
    if [[ ${CI:-} == true ]]; then fail "$1: $2 is missing, and CI skips nothing"; fi
    say "==> $1: skipped, since $2 is missing"
    skipped+=("$1")
}

# Installs Debian packages. Those that bring a service may not start it: tests start their own, where nobody else's are touched.
install_packages() {
    local policy=/usr/sbin/policy-rc.d ours='' status=0
    say "==> installing $*"
    if [[ ! -e $policy ]]; then
        ours=$policy
        printf '#!/bin/sh\n# Of scripts/test.sh, while it installs: start no services.\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" || status=$?
    if [[ -n $ours ]]; then rm -f "$ours"; fi
    return $status
}

# What the build and the tests run: a program, and the Debian packages that bring it.
find_programs() {
    local program packages missing=() wanted=()
    # Debian keeps sshd where only root looks.
    PATH=$PATH:/usr/sbin
    while read -r program packages; do
        has "$program" && continue
        missing+=("$program")
        # shellcheck disable=SC2206 # several packages in one word
        wanted+=($packages)
    done <<'PROGRAMS'
cc gcc libc6-dev
python3 python3 python3-venv
sh dash
setsid util-linux
dot graphviz
ssh openssh-client
sshd openssh-server
google-authenticator libpam-google-authenticator
ip iproute2
tar tar
PROGRAMS
    if ((${#missing[@]} > 0)); then
        if ((EUID != 0)); then
            fail "missing: ${missing[*]}" "sudo apt-get install ${wanted[*]}   (the names are Debian's)"
        fi
        has apt-get || fail "missing: ${missing[*]}" "install them; Debian calls the packages ${wanted[*]}"
        install_packages "${wanted[@]}"
    fi

    if ! has cargo && [[ -x ${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo ]]; then
        PATH=${CARGO_HOME:-${HOME:-}/.cargo}/bin:$PATH
    fi
    if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        if ((EUID == 0)) && has apt-get; then install_packages python3-venv; fi
        python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' ||
            fail "Python 3.10 or later is missing, or its venv module" "sudo apt-get install python3 python3-venv"
    fi

    has cargo || fail "Rust is missing: there is no cargo" "https://rustup.rs installs it"
}

# What only some tests need: the real things that jobs are sent to. They skip themselves where these are missing.
find_places() {
    local program package missing=() wanted=()
    while read -r program package; do
        has "$program" && continue
        missing+=("$program")
        wanted+=("$package")
    done <<'PROGRAMS'
slurmctld slurm-wlm
srun slurm-wlm
munged munge
slurmdbd slurmdbd
mariadbd mariadb-server
google-authenticator libpam-google-authenticator
sshpass sshpass
ip iproute2
dockerd docker.io
docker docker.io
podman podman
runc runc
busybox busybox-static
docker-registry docker-registry
PROGRAMS
    ((${#missing[@]} > 0)) || return 0
    if ((EUID == 0)) && has apt-get; then
        install_packages "${wanted[@]}"
    else
        skip "tests on real clusters and engines" "${missing[*]} (Debian: ${wanted[*]})"
    fi
}

# PyTorch and Ray, for the tests of launchers: 600 MB that only CI fetches by itself.
find_frameworks() {
    scripts/frameworks.sh where torch ray >/dev/null 2>&1 && return
    if [[ ${CI:-} == true ]]; then
        step "PyTorch and Ray" scripts/frameworks.sh install torch ray
    else
        skip "tests with PyTorch and Ray" "one of them (scripts/frameworks.sh install torch ray)"
    fi
}

# rustfmt and clippy come with Rust, but not with every way of installing it.
has_component() {
    cargo "$1" --version >/dev/null 2>&1 && return
    has rustup && rustup component add "$2" >/dev/null 2>&1 && cargo "$1" --version >/dev/null 2>&1
}

# Compiled and thrown away: nothing is written beside the sources.
python_compiles() {
    python3 - <<'PYTHON'
import pathlib, sys
bad = 0
for folder in ("examples", "bench", "crates/python"):
    for path in sorted(pathlib.Path(folder).rglob("*.py")):
        try:
            compile(path.read_text(encoding="utf-8"), str(path), "exec")
        except SyntaxError as error:
            bad += 1
            print(f"{path}:{error.lineno}: {error.msg}", file=sys.stderr)
sys.exit(bad > 0)
PYTHON
}

# The package as its users get it: the wheel, built by pip from this folder, in a virtual environment of its own. Only what
# tests need is installed beside it.
python_package() {
    local environment=$PWD/target/python-tests
    if ! "$environment/bin/python" -c "" 2>/dev/null; then
        rm -rf "$environment"
        python3 -m venv "$environment"
    fi
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check '.[test]'
}

# From another folder, so that nothing is imported from this one.
python_tests() {
    local environment=$PWD/target/python-tests root=$PWD
    (cd target && "$environment/bin/python" -m pytest -q -c "$root/pyproject.toml" --rootdir "$root" "$root/crates/python/tests")
}

python_types() {
    local environment=$PWD/target/python-tests root=$PWD
    (cd target && "$environment/bin/python" -m mypy --config-file "$root/pyproject.toml" --strict -p mizzen &&
        "$environment/bin/python" -m mypy.stubtest --mypy-config-file "$root/pyproject.toml" mizzen._core)
}

# Private items too: most readers of these pages work on the code.
documentation() {
    RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" \
        cargo doc --locked --workspace --no-deps --document-private-items --quiet
}

find_programs
find_places
find_frameworks
step "Python sources" python_compiles
if has_component fmt rustfmt; then step "format" cargo fmt --all --check; else skip "format" rustfmt; fi
if has_component clippy clippy; then
    step "lints" cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
else
    skip "lints" clippy
fi
step "tests" cargo test --locked --workspace --no-fail-fast
step "documentation" documentation
step "Python package" python_package
step "Python types" python_types
step "Python tests" python_tests

if ((${#skipped[@]} > 0)); then
    say "passed; skipped: ${skipped[*]}"
else
    say "passed"
fi
