#!/usr/bin/env bash
# Before `make test`: installs the servers that the tests need where it can, and says what stays out.
# Today the tests start only what they bring themselves and, where Go is, what they build with it: Portal's
# own relay and peers on its SDK. No package of Debian's has a Go that is new enough, so that one is only
# looked for.
set -euo pipefail
cd "$(dirname "$0")"
if ! command -v go >/dev/null; then
    echo "LEFT OUT: the tests with Portal's own relay and SDK, because there is no Go on this machine"
elif ! go -C interop list -m >/dev/null; then
    echo "LEFT OUT: the tests with Portal's own relay and SDK, because this Go is older than they need"
fi
