#!/usr/bin/env bash
# Builds actionlint and kustomize from the pinned modules into bin/.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p bin
# Two processes of a test run must not write the same file.
if command -v flock >/dev/null; then exec 9>bin/lock && flock 9; fi
GOFLAGS=-buildvcs=false go build -mod=readonly -o bin/ tool
