# What every script here shares; sourced, not run. Works with bash 3.2 (macOS) and later.
set -euo pipefail

# Exit codes of all scripts: 0 done; 1 a step failed; 2 something that the user has to bring is missing.
readonly failed=1 missing=2

# The calling script, wherever it was called from.
script=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '==> %s\n' "$*" >&2; }

# stop CODE MESSAGE: one line, then the end.
stop() {
    local code=$1
    shift
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit "$code"
}

has() { command -v "$1" >/dev/null 2>&1; }

# The header of the calling script is its help text.
help() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$script"; }

# Says how long cargo is going to take where torch-sys has not been compiled yet.
announce_build() {
    compgen -G 'target/release/build/torch-sys-*/out/libtch.a' >/dev/null ||
        say "first build: the C++ of torch-sys takes 2 to 4 minutes on two cores, all of it about 5; later builds take seconds"
}

# apt_install PACKAGE...: packages of Debian and its kin. Fails, and says why, where that cannot be done.
apt_install() {
    local as_root=()
    if ! has apt-get; then
        say "apt-get is not here; install what serves as $* by other means"
        return 1
    fi
    if [[ $(id -u) != 0 ]]; then
        as_root=(sudo -n)
    fi
    say "apt-get install $*"
    ${as_root[@]+"${as_root[@]}"} apt-get update -qq &&
        ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
            apt-get install -qq --yes --no-install-recommends "$@" >/dev/null
}

# peers_python VARIABLE [REQUIREMENT...]: sets `python` to an interpreter that has torch, transformers and peft. That is the
# one which the environment variable names, else one in the user's cache, which is made if it is not there (3 GB from PyPI);
# the requirements, each as PACKAGE==VERSION, are installed there too.
peers_python() {
    local environment
    python=${!1:-}
    if [[ -n $python ]]; then
        return
    fi
    shift
    environment=${XDG_CACHE_HOME:-$HOME/.cache}/lorahost/bench-python
    python=$environment/bin/python
    if [[ ! -x $python ]]; then
        has python3 || stop $missing "python3 is missing"
        say "installing torch, transformers and peft into $environment"
        python3 -m venv "$environment" || stop $missing "python3 has no venv (Debian: python3-venv)"
        "$python" -m pip install --quiet --disable-pip-version-check \
            torch==2.11.0 transformers==5.23.0 peft==0.21.2 || {
            rm -rf "$environment"
            stop $failed "torch, transformers and peft could not be installed (see above)"
        }
    fi
    [[ $# -eq 0 ]] || "$python" -m pip install --quiet --disable-pip-version-check "$@" ||
        stop $failed "$* could not be installed (see above)"
}

# compare KIND [FILE...] [FLAGS]: `lorahost` over plugins of a kind, each a part of one sweep; by default over all of that
# kind that were built. Paths are those of the folder that the script was called from.
compare() {
    local kind=$1 lorahost=${LORAHOST:-$root/target/release/lorahost} files=()
    shift
    case ${1-} in
    -h | --help) help; exit ;;
    esac
    cd "$OLDPWD"
    while [[ $# -gt 0 && $1 != -* ]]; do
        [[ -f $1 ]] || stop $missing "there is no plugin file '$1'; flags of lorahost come after the files"
        files+=("$1")
        shift
    done
    [[ ${#files[@]} -gt 0 ]] || files=("$root"/plugins/*_"$kind".so)
    [[ -f ${files[0]} ]] || stop $missing "no plugins are built: run scripts/build-plugins"
    [[ -x $lorahost ]] || stop $missing "lorahost is not built: run cargo build --release"
    export LORAHOST_PLUGIN_PATH=${LORAHOST_PLUGIN_PATH:+$LORAHOST_PLUGIN_PATH:}$root/plugins
    exec "$lorahost" --plugin "${files[@]}" "$@"
}
