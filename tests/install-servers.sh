#!/usr/bin/env bash
# Before `make test`: installs the tools that the tests need where it can (apt as root), and says what stays
# out. No package of Debian's has a Go that is new enough for Portal's own relay and peers on its SDK, so
# that one is only looked for.
set -euo pipefail
cd "$(dirname "$0")"
declare -A package=(
    [curl]=curl [sslscan]=sslscan [h2load]=nghttp2-client [redis-server]=redis-server [pebble]=pebble
    [faketime]=faketime [prometheus]=prometheus [systemd-analyze]=systemd [strace]=strace [strip]=binutils
)
missing=()
for tool in "${!package[@]}"; do
    command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
# Debian keeps this server's programs off the path.
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        # Servers are started by the tests, not as services; 101 forbids that.
        if [ ! -e /usr/sbin/policy-rc.d ]; then
            trap 'rm -f /usr/sbin/policy-rc.d' EXIT
            printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
            chmod +x /usr/sbin/policy-rc.d
        fi
        apt-get update -q || true
        DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}" ||
            echo "LEFT OUT: the tests with ${missing[*]}, because apt could not install them"
    else
        echo "LEFT OUT: the tests with ${missing[*]} (Debian, Ubuntu: apt install ${missing[*]})"
    fi
fi
if ! command -v go >/dev/null; then
    echo "LEFT OUT: the tests with Portal's own relay and SDK, and one with a newer Pebble, because there is no Go" \
        "on this machine"
elif ! go -C interop list -m >/dev/null; then
    echo "LEFT OUT: the tests with Portal's own relay and SDK, because this Go is older than they need"
fi
