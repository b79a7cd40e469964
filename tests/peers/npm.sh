#!/bin/sh
# Install the npm packages of a peer, `sh tests/peers/npm.sh medplum`, by its lock file into build/peers/medplum.
# What is there for the same lock is left alone. Where it cannot be had the tests are skipped by name, and this fails
# only under CHARTLINE_REQUIRE_PEERS=1.
set -u

here=$(cd "$(dirname "$0")" && pwd)

give_up() {
    echo "not installed: npm packages of $1 ($2); tests that need them are skipped by name" >&2
    [ "${CHARTLINE_REQUIRE_PEERS:-}" = 1 ] && exit 1
    exit 0
}

for peer in "$@"; do
    from=$here/$peer
    to=${CHARTLINE_PEERS:-$here/../../build/peers}/$peer
    cmp -s "$from/package-lock.json" "$to/installed.json" && continue
    command -v npm >/dev/null 2>&1 || give_up "$peer" "no npm here"
    mkdir -p "$to" && cp "$from/package.json" "$from/package-lock.json" "$to/" || give_up "$peer" "no room"
    rm -f "$to/installed.json"
    (cd "$to" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null 2>&1) || give_up "$peer" "npm could not"
    cp "$from/package-lock.json" "$to/installed.json"
done
