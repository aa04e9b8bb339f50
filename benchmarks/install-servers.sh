#!/usr/bin/env bash
# Before `make bench`: installs wrk, nginx and Caddy where that can be done (apt as root). Go, which the
# relay's rows need, is only looked for: no package of Debian's is new enough.
set -euo pipefail
PATH="$PATH:/usr/sbin"
declare -A package=([wrk]=wrk [nginx]=nginx-light [caddy]=caddy)
missing=()
for tool in wrk nginx caddy; do
    command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "The benchmark needs: ${missing[*]} (Debian, Ubuntu: apt install ${missing[*]})"
        exit 1
    fi
    # A freshly installed server would start as a service and take its port; 101 forbids that.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
    fi
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
fi
