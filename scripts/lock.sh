#!/bin/sh
# Pin every dependency, for every platform, with hashes. dev holds everything; the others are parts of it.
set -eu
compile() {
    out=$1
    shift
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --custom-compile-command "make lock" "$@" --output-file "requirements/$out.txt"
}
compile dev pyproject.toml --extra node --extra model --extra loadtest --extra compare --extra otel --group dev --group compiled
compile node pyproject.toml --extra node --extra model --constraint requirements/dev.txt
compile gateway pyproject.toml --constraint requirements/dev.txt
compile otel pyproject.toml --extra otel --constraint requirements/dev.txt
compile compiled --group compiled --constraint requirements/dev.txt
# Beside dev, not part of it: what these pin would hold the rest back. The node's own packages are the same in both.
compile peers pyproject.toml --extra node --extra peers --constraint requirements/node.txt
