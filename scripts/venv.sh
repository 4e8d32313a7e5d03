#!/bin/sh
# The virtual environment $2 (.venv): made once, then brought to what requirements/$1.txt pins, hashes checked.
set -eu
name=$1
venv=${2:-.venv}
python=${PYTHON:-python3}

if ! command -v "$python" >/dev/null 2>&1; then
    echo "fleetgate needs Python 3.11 or newer, and '$python' is not on PATH" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "fleetgate needs Python 3.11 or newer; '$python' is $("$python" -V 2>&1). Name another one: make up PYTHON=python3.12" >&2
    exit 1
fi
if [ ! -x "$venv/bin/python" ]; then
    echo "Making the virtual environment $venv"
    if ! "$python" -m venv "$venv" 2>/dev/null; then
        rm -rf "$venv"
        echo "'$python' cannot make virtual environments; on Debian: apt install python3-venv" >&2
        exit 1
    fi
fi
echo "Installing what requirements/$name.txt pins ($(grep -c '^[a-z]' "requirements/$name.txt") packages; TensorFlow makes this a minute or two)"
log=$venv/install.log
if ! "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off \
    --require-hashes -r "requirements/$name.txt" >"$log" 2>&1; then
    grep -E '^ERROR|error:' "$log" >&2 || tail -n 5 "$log" >&2
    echo "Installing failed; the whole log is in $log" >&2
    exit 1
fi
# The project itself, in place: nothing is built, so nothing more is downloaded.
"$venv/bin/python" scripts/link_project.py
