#!/bin/sh
# Install the Debian packages named as arguments, where this machine and this user allow it.
#
# Exits 0 when everything is there, and also when it may not install: the tests that need a peer are then skipped by
# name. With CHARTLINE_REQUIRE_PEERS=1 a missing package is a failure here already.
#
# No daemon of theirs is started, now or with the machine: the tests start their own, on loopback.
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

# What Debian asks before it starts anything; POLICY_RC_D is for the test of this script.
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}
if [ ! -e "$policy" ] && printf '#!/bin/sh\nexit 101\n' 2>/dev/null >"$policy"; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    chmod 755 "$policy"
fi

stay_off() {
    command -v systemctl >/dev/null 2>&1 || return 0
    for package in "$@"; do
        dpkg-query --listfiles "$package" 2>/dev/null | while read -r file; do
            case $file in
                */systemd/system/*@.service) ;;
                */systemd/system/*.service) systemctl --quiet disable "${file##*/}" >/dev/null 2>&1 ;;
            esac
        done
    done
    return 0
}

export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of package names
install() { apt-get install --quiet=2 --yes --no-install-recommends $wanted >/dev/null 2>&1; }
install || { apt-get update --quiet=2 >/dev/null 2>&1; install; }
# shellcheck disable=SC2086
stay_off $wanted

wanted=$(absent "$@")
[ -z "$wanted" ] || give_up "$wanted" "apt-get could not"
