#!/usr/bin/env bash
# The dashboard in a real browser: a release crawler on a store with thousands of made-up peers and a year behind them, and
# the demonstration with its crawl and its seeder; see README.md. Exit code 0 says that everything passed. Without Chromium,
# Node.js or a registry it says so and skips, unless CI=true.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { printf 'browser lab: %s\n' "$*" >&2; exit 1; }
skip() {
  [ "${CI:-}" != true ] || fail "$* (and CI=true: not skipped)"
  printf 'browser lab: SKIPPED, nothing was looked at: %s\n' "$*"
  exit 0
}

for program in chromium node npm; do
  command -v "$program" >/dev/null || skip "$program is not installed (Debian: apt-get install chromium nodejs npm)"
done
bin=${CARGO_TARGET_DIR:-target}/release
for program in labs quantumcoin-crawler examples/p2p_network; do
  [ -x "$bin/$program" ] || fail "$bin/$program is missing; build it with: cargo build --release --bins --example p2p_network"
done

# The lock file holds the package's hash; nothing that comes with it is run but by the page under test.
mkdir -p "${CARGO_TARGET_DIR:-target}/browser"
modules=$(cd "${CARGO_TARGET_DIR:-target}/browser" && pwd)
lock=$(sha256sum <labs/browser/package-lock.json)
if [ "$(cat "$modules/installed" 2>/dev/null)" != "$lock" ]; then
  rm -f "$modules/installed"
  cp labs/browser/package.json labs/browser/package-lock.json "$modules/"
  (cd "$modules" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >"$modules/npm.log" 2>&1 || {
    # A wrong hash is no reason to skip.
    grep -q EINTEGRITY "$modules/npm.log" && { cat "$modules/npm.log" >&2; fail "a package is not what the lock file says"; }
    cat "$modules/npm.log" >&2
    skip "npm could not install axe-core, see above"
  }
  printf '%s\n' "$lock" >"$modules/installed"
fi

dir=$(mktemp -d)
crawler= demo=
cleanup() {
  for process in $crawler $demo; do kill "$process" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$dir"
}
trap cleanup EXIT

# Waits for a line in a file and prints what the expression takes of it.
wait_for() { # file, process, sed expression
  for _ in $(seq 600); do
    found=$(sed -n "$3" "$1" | head -n 1)
    [ -z "$found" ] || { printf '%s\n' "$found"; return; }
    kill -0 "$2" 2>/dev/null || { cat "$1" >&2; fail "a program ended"; }
    sleep 0.1
  done
  cat "$1" >&2
  fail "a program did not start"
}

"$bin/examples/p2p_network" --nodes 6 --blocks 100 >"$dir/demo.out" 2>"$dir/demo.err" &
demo=$!

"$bin/labs" worker dashboard fill "$dir/data" "${PEERS:-5000}" >"$dir/fill.json"
# Nobody but loopback is dialled, and peers stay as they were made.
printf '::/0\n' >"$dir/do-not-probe"
cat >"$dir/crawler.toml" <<SETTINGS
do_not_probe = "$dir/do-not-probe"
seeders = []
[schedule]
good_min_secs = 43200
good_max_secs = 86400
backoff_first_secs = 43200
backoff_cap_secs = 86400
SETTINGS
"$bin/quantumcoin-crawler" run --network devnet --data-dir "$dir/data" --config "$dir/crawler.toml" --http 127.0.0.1:0 \
  --no-dns --no-bootstrap --log-format json 2>"$dir/crawler.err" &
crawler=$!
large=$(wait_for "$dir/crawler.err" "$crawler" 's/.*dashboard on \(http:[^"]*\)".*/\1/p')
demo_url=$(wait_for "$dir/demo.out" "$demo" 's/^dashboard *\(http:.*\)/\1/p')
wait_for "$dir/demo.out" "$demo" '/Ctrl-C ends it/p' >/dev/null

node labs/browser/check.mjs "$large" "$demo_url" "$modules/node_modules/axe-core/axe.min.js" ${SCREENSHOTS:+"$SCREENSHOTS"}
