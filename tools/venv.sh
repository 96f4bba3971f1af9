#!/bin/sh
# Makes or repairs the virtual environment and installs one set of hashed requirements and the
# two packages of this repository.
#
#   sh tools/venv.sh runtime|dev      (VENV: its folder; PYTHON: the interpreter to make it with)
set -eu
cd "$(dirname "$0")/.."
set_name=$1
venv=${VENV:-.venv}
marker=$venv/installing

say() { printf '%s\n' "tokenvault: $*" >&2; }

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3.14 python3; do
        if command -v "$candidate" >/dev/null 2>&1 && new_enough "$candidate"; then
            printf '%s' "$candidate"
            return
        fi
    done
    say "needs Python 3.11 or newer, and none was found ($(python3 --version 2>&1 || true))."
    say "Install one, or name it: make PYTHON=/path/to/python3.11 run"
    exit 1
}

# A folder that was moved has the old path in every script; an install that was cut short may
# have left half a package that pip takes for a whole one.
usable() {
    [ -x "$venv/bin/python" ] && new_enough "$venv/bin/python" &&
        "$venv/bin/python" -m pip --version >/dev/null 2>&1 &&
        [ ! -e "$marker" ] &&
        { [ ! -e "$venv/home" ] || [ "$(cat "$venv/home")" = "$PWD" ]; }
}

# Into an environment that stands already, what is satisfied is not worth a line each.
quiet=--quiet
if ! usable; then
    python=$(find_python)
    [ ! -e "$venv" ] || say "$venv is incomplete or was moved: making it anew"
    say "making $venv with $("$python" --version 2>&1)"
    quiet=
    if ! "$python" -m venv --clear "$venv"; then
        say "could not make it; on Debian and Ubuntu the package python3-venv is needed"
        rm -rf "$venv"
        exit 1
    fi
fi

: >"$marker"
rm -f "$venv/$set_name.stamp"
printf '%s\n' "$PWD" >"$venv/home"

pip_install() {
    status=0
    "$venv/bin/python" -m pip install --disable-pip-version-check "$@" || status=$?
    if [ "$status" -ne 0 ]; then
        # pip put everything back itself, so what is there may stay.
        [ "$status" -ge 128 ] || rm -f "$marker"
        say "the install failed (see above); run the same command again once it is mended"
        exit "$status"
    fi
}

say "installing requirements/$set_name.txt (once; some minutes on a slow line)"
# shellcheck disable=SC2086
pip_install $quiet --require-hashes -r "requirements/$set_name.txt"
pip_install --quiet --no-index --no-deps --no-build-isolation -e . -e clients/python
rm -f "$marker"
: >"$venv/$set_name.stamp"
# The development set contains the other one.
[ "$set_name" != dev ] || : >"$venv/runtime.stamp"
