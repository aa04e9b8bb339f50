#!/usr/bin/env bash
# Before `make soak`: slowhttptest from Debian (apt as root), h2spec built from the pinned module into bin/, and
# atheris, the extra `fuzz`, into .venv.
set -euo pipefail
cd "$(dirname "$0")"
if ! command -v slowhttptest >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "slowhttptest is needed (Debian, Ubuntu: apt install slowhttptest)" >&2
        exit 1
    fi
    apt-get update -q || true
    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends slowhttptest
fi
if ! command -v go >/dev/null; then
    echo "Go is needed, to build h2spec" >&2
    exit 1
fi
mkdir -p bin
GOFLAGS=-buildvcs=false go build -mod=readonly -o bin/ tool
../../.venv/bin/python -c 'import atheris' 2>/dev/null || \
    ../../.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '../..[fuzz]'
