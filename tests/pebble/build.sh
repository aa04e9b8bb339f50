#!/usr/bin/env bash
# Builds Pebble from the pinned module into bin/: Debian's knows nothing of ARI (RFC 9773).
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p bin
GOFLAGS=-buildvcs=false go build -mod=readonly -o bin/ tool
