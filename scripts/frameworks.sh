#!/usr/bin/env bash
# Real PyTorch and Ray for tests and the bench: each in a virtual environment of its own, made once and shared by all.
#
#   frameworks.sh install NAME…    NAME: torch, ray; makes what is missing (about 600 MB from PyPI), prints each one's folder
#   frameworks.sh where NAME…      prints each one's folder, or says that it is not installed
#
# They stand in ${MIZZEN_TEST_CACHE:-${XDG_CACHE_HOME:-~/.cache}/mizzen-tests}. Several may ask at once: one makes it, the
# others wait. PyTorch comes without the CUDA libraries that it names (torch_without_cuda.py says how), or with them where that
# does not work: 1.3 GB instead of 5.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${MIZZEN_TEST_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/mizzen-tests}
TORCH=torch==2.15.0
# What PyTorch imports, and the one CUDA library that is called as soon as it is loaded.
TORCH_NEEDS=(filelock typing-extensions sympy networkx jinja2 fsspec numpy)
CUDA_RUNTIME='nvidia-cuda-runtime==13.2.*'
RAY=ray==2.60.0

fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    for hint in "$@"; do printf 'hint: %s\n' "$hint" >&2; done
    exit 1
}

usage() { fail "$1" "frameworks.sh install torch|ray… | where torch|ray…"; }

# The folder of an environment: another one for each Python and for each change of what is in it.
folder_of() {
    local contents
    contents=$(
        declare -f "make_$1"
        printf '%s\n' "$TORCH" "${TORCH_NEEDS[@]}" "$CUDA_RUNTIME" "$RAY"
        cat "$HERE/torch_without_cuda.py"
        python3 -c 'import sys; print(sys.version, sys.base_prefix)'
    )
    printf '%s/%s-%s\n' "$CACHE" "$1" "$(sha256sum <<<"$contents" | head -c 8)"
}

pip() { "$1/bin/python" -m pip install --quiet --disable-pip-version-check "${@:2}" >&2; }

make_torch() {
    # pip says what else it would want of dependencies that are left out; it is right, and nobody wants to read it.
    if pip "$1" "${TORCH_NEEDS[@]}" && pip "$1" --no-deps "$TORCH" "$CUDA_RUNTIME" 2>/dev/null &&
        "$1/bin/python" "$HERE/torch_without_cuda.py" >&2 && imports_torch "$1"; then
        return
    fi
    printf 'PyTorch does not work without its CUDA libraries here: they are installed too\n' >&2
    rm -rf "$1"
    python3 -m venv "$1"
    pip "$1" "$TORCH" numpy
    imports_torch "$1"
}

imports_torch() { "$1/bin/python" -c 'import torch.distributed; assert torch.distributed.is_gloo_available()' >&2; }

make_ray() {
    pip "$1" "$RAY"
    "$1/bin/ray" --version >&2
}

install() {
    local folder
    folder=$(folder_of "$1")
    mkdir -p "$CACHE"
    (
        flock 9
        if [[ ! -e $folder/complete ]]; then
            printf 'installing %s into %s\n' "$1" "$folder" >&2
            rm -rf "$folder"
            python3 -m venv "$folder" && "make_$1" "$folder" || exit 1
            touch "$folder/complete"
        fi
    ) 9>"$CACHE/$1.lock" || fail "$1 can't be installed into $folder"
    printf '%s\n' "$folder"
}

where() {
    local folder
    folder=$(folder_of "$1")
    [[ -e $folder/complete ]] || fail "$1 is not installed" "$HERE/frameworks.sh install $1"
    printf '%s\n' "$folder"
}

main() {
    local command=${1:-} name
    (($# >= 2)) || usage "a command and a name are needed"
    [[ $command == install || $command == where ]] || usage "there is no command \`$command\`"
    for name in "${@:2}"; do
        [[ $name == torch || $name == ray ]] || usage "there is no \`$name\`"
    done
    for name in "${@:2}"; do "$command" "$name"; done
}

main "$@"
