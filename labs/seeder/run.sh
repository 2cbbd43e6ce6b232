#!/usr/bin/env bash
# The seeder before the judges of others: a root, a top-level domain and zones delegated to two real seeders, all in a
# network namespace (world.sh); checked by zonemaster, dnsviz, drill, delv, unbound, the zone checkers of BIND, NSD,
# Knot and ldns, and by our own compliance (judges.sh). See README.md. Exit code 0 says that nothing unexpected was
# found. Needs root and Debian packages; without them it says so and skips, unless CI=true.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { printf 'seeder lab: %s\n' "$*" >&2; exit 1; }
say() { printf -- '-- %s (%s s)\n' "$*" "$SECONDS"; }
skip() {
  [ "${CI:-}" != true ] || fail "$* (and CI=true: not skipped)"
  printf 'seeder lab: SKIPPED, nothing was tested: %s\n' "$*"
  exit 0
}

PATH=$PATH:/usr/sbin
lab=$PWD/labs/seeder

# Outside of the namespace: what needs the internet, and the temporary directory.
if [ "${1:-}" != inside ]; then
  [ "$(id -u)" = 0 ] || skip "needs root, for a network namespace"
  for program in ip unshare named dnssec-keygen dnssec-signzone named-checkzone dig delv unbound drill ldns-read-zone \
    nsd-checkzone kzonecheck zonemaster-cli jq python3; do
    command -v "$program" >/dev/null || skip "$program is not installed (Debian: apt-get install iproute2 bind9 \
bind9-utils bind9-dnsutils unbound ldnsutils nsd knot-dnssecutils zonemaster-cli jq python3-pip)"
  done
  python3 -m pip --version >/dev/null 2>&1 || skip "pip is not installed (Debian: apt-get install python3-pip)"
  seeder=${SEEDER:-${CARGO_TARGET_DIR:-target}/release/quantumcoin-seeder}
  [ -x "$seeder" ] || fail "$seeder is missing: cargo build --release -p quantumcoin-seeder, or SEEDER=path"
  unshare --net --mount --pid --fork --mount-proc true 2>/dev/null || skip "namespaces can't be made here"
  dir=$(mktemp -d) inside=
  cleanup() {
    # It takes no other signal; all that runs inside dies with it.
    [ -z "$inside" ] || kill -KILL "$inside" 2>/dev/null || true
    [ -n "${KEEP:-}" ] && { printf 'seeder lab: files in %s\n' "$dir" >&2; return; }
    rm -rf "$dir"
  }
  trap cleanup EXIT
  chmod 755 "$dir"
  # Whatever runs inside ends with the namespace of processes, and addresses and sockets with that of the network.
  status=0
  LAB_DIR=$dir LAB_SEEDER=$(realpath "$seeder") unshare --net --mount --pid --fork --kill-child --mount-proc \
    "$BASH" "$lab/run.sh" inside &
  inside=$!
  say "the packages, by hash, and meanwhile"
  python3 -m venv --without-pip "$dir/venv"
  # Without dependencies: all that is used is listed.
  python3 -m pip --python "$dir/venv/bin/python" install --quiet --disable-pip-version-check --no-compile --no-deps \
    --require-hashes --only-binary :all: -r "$lab/requirements.txt"
  touch "$dir/packages"
  wait "$inside" || status=$?
  inside=
  exit "$status"
fi

export PYTHONPYCACHEPREFIX=$LAB_DIR/bytecode
dir=$LAB_DIR seeder=$LAB_SEEDER migrations=$PWD/migrations/sqlite mainnet=$PWD/chain_spec.toml
cd "$dir"
signed="seed1.network seed2.network" zones="$signed plain.network"
: >findings
await_packages() { until [ -e packages ]; do sleep 0.1; done; }
finding() { printf 'seeder lab: FINDING: %s\n' "$*" | tee -a findings >&2; }

# shellcheck source=labs/seeder/world.sh
. "$lab/world.sh"
# shellcheck source=labs/seeder/judges.sh
. "$lab/judges.sh"

say "keys and zones"
network
keys
zone_files
say "servers"
servers
[ -z "${PAUSE:-}" ] || { await_packages; printf 'pause for %s s: files in %s\n' "$PAUSE" "$dir"; sleep "$PAUSE"; }

say "judges, all at once"
at_once zonemaster drill dumps wildcard_addresses delv_and_unbound dnsviz compliance
say "what is left"
afterwards
[ ! -s findings ] || fail "$(grep -c FINDING findings) findings"
printf 'seeder lab: nothing unexpected (%s s)\n' "$SECONDS"
