#!/usr/bin/env bash
# What is in deploy/ is accepted by the programs that it is for: systemd, sysusers, nftables, BIND. Needs the release build
# for the units' programs, and root for nftables; without the programs it says so and skips, unless CI=true.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'deploy: %s\n' "$*" >&2; exit 1; }
skip() {
  [ "${CI:-}" != true ] || fail "$* (and CI=true: not skipped)"
  printf 'deploy: SKIPPED, nothing was tested: %s\n' "$*"
  exit 0
}
PATH=$PATH:/usr/sbin
for program in systemd-analyze systemd-sysusers nft named-checkzone; do
  command -v "$program" >/dev/null || skip "$program is not installed (Debian: apt-get install systemd nftables bind9-utils)"
done
release=$(realpath "${CARGO_TARGET_DIR:-target}/release")

# The most that a unit may be exposed, of 10 (systemd calls 2 "OK" and less "safe").
limit=20
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for unit in deploy/systemd/*.service; do
  systemd-analyze security --offline=true --threshold="$limit" --no-pager "$unit" >"$work/exposure" ||
    { cat "$work/exposure" >&2; fail "$unit is exposed more than $limit tenths"; }
  # The programs lie where they are built, here.
  sed "s#/usr/local/bin#$release#" "$unit" >"$work/${unit##*/}"
  printf '%s: %s\n' "${unit##*/}" "$(tail -1 "$work/exposure" | sed 's/[^ -~]//g')"
done
systemd-analyze verify "$work"/*.service >"$work/verify" 2>&1 || { cat "$work/verify" >&2; fail "systemd does not accept a unit"; }
[ ! -s "$work/verify" ] || { cat "$work/verify" >&2; fail "systemd complains of a unit"; }
systemd-sysusers --dry-run "$PWD"/deploy/sysusers.d/*.conf >/dev/null || fail "sysusers does not accept the account"
nft -c -f deploy/nftables/quantumcoin.nft || fail "nft does not accept the firewall"
named-checkzone -i local example.org deploy/zone/parent.zone >"$work/zone" || { cat "$work/zone" >&2; fail "the parent zone is wrong"; }
printf 'deploy: units, account, firewall and parent zone are accepted\n'
