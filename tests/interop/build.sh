#!/usr/bin/env bash
# Builds Portal's relay and our peers on its SDK into bin/<version>/, for both pinned versions.
# Nothing is written outside bin/ and Go's own caches; a second run takes seconds.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p bin
# Two processes of a test run must not write the same file.
if command -v flock >/dev/null; then exec 9>bin/lock && flock 9; fi
for version in 1.2.0 1.4.14; do
    modfile=go.mod
    [ "$version" = 1.4.14 ] || modfile="portal-$version.mod"
    mkdir -p "bin/$version"
    GOFLAGS=-buildvcs=false go build -mod=readonly -modfile="$modfile" -o "bin/$version/" \
        ./tunnel ./client ./pooledproxy tool
done
