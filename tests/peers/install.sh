#!/bin/sh
# Install the Debian packages named as arguments, where this machine and this user allow it.
#
# Exits 0 when everything is there, and also when it may not install: the tests that need a peer are then skipped by
# name. With CHARTLINE_REQUIRE_PEERS=1 a missing package is a failure here already.
set -u

absent() {
    for package in "$@"; do
        state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || state=
        [ "$state" = installed ] || printf '%s ' "$package"
    done
}

give_up() {
    echo "not installed: $1($2); tests that need them are skipped by name" >&2
    [ "${CHARTLINE_REQUIRE_PEERS:-}" = 1 ] && exit 1
    exit 0
}

command -v dpkg-query >/dev/null 2>&1 || give_up "$* " "no Debian packages here"
wanted=$(absent "$@")
[ -z "$wanted" ] && exit 0
[ "$(id -u)" = 0 ] || give_up "$wanted" "needs root"

export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of package names
install() { apt-get install --quiet=2 --yes --no-install-recommends $wanted >/dev/null 2>&1; }
install || { apt-get update --quiet=2 >/dev/null 2>&1; install; }

wanted=$(absent "$@")
[ -z "$wanted" ] || give_up "$wanted" "apt-get could not"
