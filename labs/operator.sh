#!/usr/bin/env bash
# Runs the commands of docs/operators.md, "The whole path on one machine", as they stand there, and looks at what came of
# them: a seed that is signed, delegated, believed by a validating resolver, and enough for a node that knows nothing else.
# Needs the release build and, for port 53, root; without the programs it says so and skips, unless CI=true.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'operator: %s\n' "$*" >&2; exit 1; }
skip() {
  [ "${CI:-}" != true ] || fail "$* (and CI=true: not skipped)"
  printf 'operator: SKIPPED, nothing was tested: %s\n' "$*"
  exit 0
}
PATH=$PATH:/usr/sbin
for program in knotd unbound dig jq pkill; do
  command -v "$program" >/dev/null || skip "$program is not installed (Debian: apt-get install knot bind9-dnsutils unbound jq procps)"
done
[ "$(id -u)" = 0 ] || command -v sudo >/dev/null || skip "port 53 needs root or sudo"

work=$(mktemp -d)
trap 'rm -rf "$work" /tmp/seed-trial' EXIT
rm -rf /tmp/seed-trial
# Where the build is elsewhere, the paths of the text lead there.
release=$(realpath "${CARGO_TARGET_DIR:-target}/release")
awk '/^## /{on = /The whole path on one machine/} on && /^```sh$/{code = 1; next} /^```$/{code = 0} on && code' docs/operators.md |
  sed "s#\$PWD/target/release#$release#" >"$work/commands"
[ "$(wc -l <"$work/commands")" -gt 40 ] || fail "docs/operators.md has no commands any more"
if [ "$(id -u)" = 0 ]; then
  # Whoever is root needs none, and may have none.
  mkdir "$work/bin"
  printf '#!/bin/sh\nexec "$@"\n' >"$work/bin/sudo"
  chmod +x "$work/bin/sudo"
  PATH=$work/bin:$PATH
fi
{
  printf 'set -euo pipefail\n'
  # Whatever becomes of it, nothing stays.
  printf "trap 'kill \$(jobs -p) 2>/dev/null || true; wait || true' EXIT\n"
  # A command that waits for ever is a failure.
  cat "$work/commands"
  printf 'printf reached-the-end\\\\n\n'
} >"$work/path.sh"
if ! timeout 120 bash "$work/path.sh" >"$work/out" 2>&1; then
  cat "$work/out" >&2
  tail -n 5 /tmp/seed-trial/*.log >&2 || true
  fail "the path does not lead to its end"
fi
for wanted in 'reached-the-end' 'flags:.* ad' 'synced: block' 'seed.test.* DS ' 'delegates it to ns1.seed.test' \
  'pass  dns_resolution' '^127.0.0.12'; do
  grep -Eq -- "$wanted" "$work/out" || { cat "$work/out" >&2; fail "there is no $wanted"; }
done
if grep -q 'ERROR' "$work/out"; then cat "$work/out" >&2; fail "check finds errors"; fi
printf 'operator: every command of the path did what the text says\n'
