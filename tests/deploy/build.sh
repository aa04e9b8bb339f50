#!/usr/bin/env bash
# Builds actionlint and kustomize from the pinned modules into bin/.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p bin
GOFLAGS=-buildvcs=false go build -mod=readonly -o bin/ tool
