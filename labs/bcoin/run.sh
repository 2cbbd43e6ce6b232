#!/usr/bin/env bash
# Installs bcoin 1.0.2 below target/ and lets it serve its regtest chain to our node: see README.md. Exit code 0
# says that all that is compared agrees. Without Node.js, npm or a registry it says so and skips, unless CI=true.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { printf 'bcoin lab: %s\n' "$*" >&2; exit 1; }
skip() {
  [ "${CI:-}" != true ] || fail "$* (and CI=true: not skipped)"
  printf 'bcoin lab: SKIPPED, nothing was compared: %s\n' "$*"
  exit 0
}

for program in node npm; do
  command -v "$program" >/dev/null || skip "$program is not installed (Debian: apt-get install nodejs npm)"
done
major=$(node -p 'process.versions.node.split(".")[0]')
[ "$major" -ge 18 ] || skip "Node.js is $(node -v), 18 or newer is needed"

# The lock file holds each package's hash; nothing that comes with a package is run or built.
mkdir -p "${CARGO_TARGET_DIR:-target}/bcoin"
dir=$(cd "${CARGO_TARGET_DIR:-target}/bcoin" && pwd)
lock=$(sha256sum <labs/bcoin/package-lock.json)
if [ "$(cat "$dir/installed" 2>/dev/null)" != "$lock" ]; then
  rm -f "$dir/installed"
  cp labs/bcoin/package.json labs/bcoin/package-lock.json "$dir/"
  (cd "$dir" && npm ci --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error) >"$dir/npm.log" 2>&1 || {
    # A wrong hash is no reason to skip.
    grep -q EINTEGRITY "$dir/npm.log" && { cat "$dir/npm.log" >&2; fail "a package is not what the lock file says"; }
    cat "$dir/npm.log" >&2
    skip "npm could not install bcoin, see above"
  }
  printf '%s\n' "$lock" >"$dir/installed"
fi

start=$SECONDS
BCOIN_MODULES="$dir/node_modules" "${CARGO:-cargo}" test --quiet --locked -p labs --test bcoin -- \
  --ignored --nocapture --test-threads=1 || fail "not all agrees, see above"
printf 'bcoin lab: all agrees (%s s)\n' "$((SECONDS - start))"
