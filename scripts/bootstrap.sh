#!/usr/bin/env bash
# Usage: scripts/bootstrap.sh lava COMMAND [ARG...]   Python 3.10 with Lava, in .venv
#        scripts/bootstrap.sh core COMMAND [ARG...]   no Lava, in .venv-core-VERSION
#        scripts/bootstrap.sh peers COMMAND [ARG...]  the libraries that benchmarks/ compares with, in .venv-peers
#        scripts/bootstrap.sh find VERSION...         path of the first version at hand
# Runs COMMAND from the environment and installs that environment first where
# it is missing or out of date. $PYTHON chooses the interpreter. $TORCH_INDEX is
# the index that PyTorch is taken from, such as that of its CPU builds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }

# Prints "VERSION PATH" of an interpreter. Only running it tells: a pyenv shim
# exists but may refuse, and Debian's Python may lack venv. The path is the one
# behind a virtual environment, so that an environment can be replaced from
# within itself.
probe() {
    "$1" -c 'import ensurepip, sys, venv
version = "%d.%d" % sys.version_info[:2]
inside = sys.prefix != sys.base_prefix
print(version, sys.base_prefix + "/bin/python" + version if inside else sys.executable)' 2>/dev/null </dev/null
}

candidates() {
    local version=$1 pyenv_root
    printf '%s\n' .venv/bin/python ".venv-core-$version/bin/python"
    type -aP "python$version" python3 || true
    if command -v uv >/dev/null; then
        uv python find --system "$version" 2>/dev/null || true
    fi
    pyenv_root=$(pyenv root 2>/dev/null || printf '%s' "${PYENV_ROOT:-${HOME:-}/.pyenv}")
    printf '%s\n' "$pyenv_root/versions/$version"*/bin/python
}

# Prints "VERSION PATH" of an interpreter of the version asked for.
find_version() {
    local version=$1 candidate found
    while IFS= read -r candidate; do
        if found=$(probe "$candidate") && [ "${found%% *}" = "$version" ]; then
            say "$found"
            return
        fi
    done < <(candidates "$version")
    return 1
}

# Prints "VERSION PATH" of what the user named: 3.11, python3.11, or any other command or path.
find_named() {
    local version=${1#python}
    if [[ $version =~ ^3\.[0-9]+$ ]]; then
        find_version "$version"
    else
        probe "$1"
    fi
}

how_to_get() { say "install it, for example with \`uv python install $1\` or \`pyenv install $1\`, and run the same command again."; }

choose_lava() {
    if [ -n "${PYTHON:-}" ]; then
        found=$(find_named "$PYTHON") || found=none
        [ "${found%% *}" = 3.10 ] ||
            die "PYTHON=$PYTHON is not a working Python 3.10 (with pip and venv), the only version Lava supports: $(how_to_get 3.10)"
    else
        found=$(find_version 3.10) ||
            die "Lava needs Python 3.10, which was not found on this machine: $(how_to_get 3.10)"
    fi
    venv=.venv what="PyTorch and Lava" constraints=constraints/lava-py310.txt packages=(--editable ".[lava,dev]")
}

choose_core() {
    if [ -n "${PYTHON:-}" ]; then
        found=$(find_named "$PYTHON") ||
            die "PYTHON=$PYTHON is not a working Python (with pip and venv): $(how_to_get 3.11)"
    else
        found=$(find_first 3.11 3.12 3.13) ||
            die "The core tests need Python 3.11, 3.12 or 3.13, and none was found on this machine: $(how_to_get 3.11)"
    fi
    local version=${found%% *}
    venv=.venv-core-$version what="PyTorch, the test tools and the documentation tools" constraints=constraints/core.txt packages=(--editable ".[dev,docs]")
    case $version in
        2.* | 3.[0-9]) die "PYTHON=$PYTHON is Python $version, and rmp-lava needs 3.10 or newer: $(how_to_get 3.11)" ;;
        3.10) constraints=constraints/lava-py310.txt ;;
    esac
}

choose_peers() {
    if [ -n "${PYTHON:-}" ]; then
        found=$(find_named "$PYTHON") ||
            die "PYTHON=$PYTHON is not a working Python (with pip and venv): $(how_to_get 3.11)"
    else
        found=$(find_first 3.11 3.12 3.13) ||
            die "The compared libraries need Python 3.11, 3.12 or 3.13, and none was found on this machine: $(how_to_get 3.11)"
    fi
    venv=.venv-peers what="PyTorch and the compared libraries" constraints=constraints/peers.txt
    # norse exists as a source package only, and is version 0.0.0 without setuptools_scm.
    backends+=(setuptools_scm)
    packages=(torch spikingjelly snntorch sinabs norse)
}

find_first() {
    local version
    for version in "$@"; do
        find_version "$version" && return
    done
    return 1
}

# An environment can be kept if its Python runs and has the right version, if
# it was not moved along with the checkout (its scripts name absolute paths),
# and if no install was cut short in it.
reusable() {
    local current
    current=$("$venv/bin/python" -c 'import sys, pip; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) &&
        [ "$current" = "$version" ] &&
        [ ! -e "$venv/.installing" ] &&
        { [ ! -e "$venv/.installed" ] || grep -qxF "checkout $PWD" "$venv/.installed"; }
}

backends=(hatchling setuptools)

prepare() {
    local version=${found%% *} python=${found#* } stamp=$venv/.installed wanted
    wanted="python $version
checkout $PWD
inputs $(cat pyproject.toml "$constraints" | cksum)"

    if reusable; then
        [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
    else
        say "Creating $venv with Python $version."
        rm -rf "$venv"
        "$python" -m venv "$venv" || die "Python $version at $python could not create $venv."
    fi

    say "Installing $what into $venv, on the first call only: ${size:-several GB}, two to six minutes with a fast connection."
    if [ -z "${TORCH_INDEX:-}" ] && [ "$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null; then
        say "There is no GPU here: PyTorch's CPU build is several GB smaller; CONTRIBUTING.md says how to take it."
    fi
    rm -f "$stamp"
    touch "$venv/.installing"
    # The build backends go first: with no isolated build, the constraints hold for them.
    pip_install "${backends[@]}"
    if [ -n "${TORCH_INDEX:-}" ]; then
        pip_install --index-url "$TORCH_INDEX" torch
    fi
    pip_install --no-build-isolation "${packages[@]}"
    rm "$venv/.installing"
    say "$wanted" >"$stamp"
    say "The environment $venv is ready; to work in it: source $venv/bin/activate"
}

# pip is silent, or prints thousands of lines; instead, a line every half minute says how much is there.
pip_install() {
    local pip started=$SECONDS said=$SECONDS status=0
    "$venv/bin/python" -m pip --disable-pip-version-check --no-input install -qq --constraint "$constraints" "$@" &
    pip=$!
    trap 'kill "$pip" 2>/dev/null; exit 130' INT TERM
    while kill -0 "$pip" 2>/dev/null; do
        sleep 1
        if [ $((SECONDS - said)) -ge 30 ]; then
            said=$SECONDS
            say "  downloading and installing since $((SECONDS - started)) s; $venv has $(du -sh "$venv" 2>/dev/null | cut -f 1)"
        fi
    done
    wait "$pip" || status=$?
    trap - INT TERM
    [ "$status" = 0 ] ||
        die "The installation into $venv stopped with the error above; it needs a network connection, and running the same command again retries."
}

[ $# -ge 2 ] || die "usage: scripts/bootstrap.sh lava|core|peers COMMAND [ARG...] | find VERSION..."
mode=$1
shift
case $mode in
    find)
        found=$(find_first "$@") || exit 1
        say "${found#* }"
        ;;
    lava | core | peers)
        "choose_$mode"
        prepare
        command=$1
        shift
        exec "$venv/bin/$command" "$@"
        ;;
    *) die "usage: scripts/bootstrap.sh lava|core|peers COMMAND [ARG...] | find VERSION..." ;;
esac
