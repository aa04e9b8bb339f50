#!/usr/bin/env bash
# Builds Pebble from the pinned module into bin/: Debian's knows nothing of ARI (RFC 9773).
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p bin
# Two processes of a test run must not write the same file.
if command -v flock >/dev/null; then exec 9>bin/lock && flock 9; fi
GOFLAGS=-buildvcs=false go build -mod=readonly -o bin/ tool
