#!/bin/sh
# environment.sh VENV LOCKFILE: put the packages of a lock file into a virtual environment, which is made if need be.
set -eu

die() {
    printf '%s\n' "$1" >&2
    exit 2
}

venv=$1 lock=$2

# One whose making was interrupted has no pip yet.
if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    for python in python3 python3.14 python3.13 python3.12 python3.11 ''; do
        [ -n "$python" ] || die "no Python 3.11 or newer; install one, or give PYTHON one that has the packages"
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
    done
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "'$python -m venv' does not work; on Debian or Ubuntu install python3-venv"
    printf 'making a Python environment in %s (once)\n' "$venv" >&2
    "$python" -m venv "$venv" || die "cannot make '$venv'; is there space, may you write there?"
fi
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r "$lock" ||
    die "cannot install '$lock'; is there a network? 'make' tries again, or give PYTHON one that has the packages"
