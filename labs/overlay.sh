#!/usr/bin/env bash
# The crawler reaches a real node by its onion name through a SOCKS5 proxy that others wrote (microsocks). The proxy finds the
# name in a hosts file of its own, in a mount namespace: Tor's network is the one thing that is not there. Needs root and
# microsocks; without them it says so and skips, unless CI=true.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'overlay lab: %s\n' "$*" >&2; exit 1; }
say() { printf -- '-- %s\n' "$*"; }
skip() {
  [ "${CI:-}" != true ] || fail "$* (and CI=true: not skipped)"
  printf 'overlay lab: SKIPPED, nothing was tested: %s\n' "$*"
  exit 0
}
[ "$(id -u)" = 0 ] || skip "only root may have a hosts file of its own"
for program in microsocks unshare jq; do
  command -v "$program" >/dev/null || skip "$program is not installed (Debian: apt-get install microsocks util-linux jq)"
done
bin=$(realpath "${CARGO_TARGET_DIR:-target}/release")
for program in quantumcoin-node quantumcoin-crawler; do
  [ -x "$bin/$program" ] || fail "$bin/$program is missing: cargo build --release --bins"
done

dir=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$dir"
}
trap cleanup EXIT
wait_for_port() {
  for _ in $(seq 100); do
    (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null && return
    sleep 0.1
  done
  fail "nothing listens at $1:$2"
}

# The name of an onion service, which any 32 bytes have.
name=2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion
proxy=19050 port=18777

say "a node, and a proxy that knows it by its name"
"$bin/quantumcoin-node" run --network devnet --data-dir "$dir/node" --listen "127.0.77.1:$port" --http 127.0.0.1:0 --resolver 127.0.0.1:9 --log warn \
  >"$dir/node.log" 2>&1 &
pids+=($!)
printf '127.0.77.1 %s\n127.0.0.1 localhost\n' "$name" >"$dir/hosts"
unshare -m sh -c "mount --bind '$dir/hosts' /etc/hosts && exec microsocks -i 127.0.0.1 -p $proxy" >"$dir/proxy.log" 2>&1 &
pids+=($!)
wait_for_port 127.0.77.1 "$port"
wait_for_port 127.0.0.1 "$proxy"
printf '[proxies]\nonion = "127.0.0.1:%s"\n[limits]\nproxy_ms = 5000\n' "$proxy" >"$dir/crawler.toml"

crawl() {
  "$bin/quantumcoin-crawler" once --network devnet --data-dir "$dir/crawler" --config "$dir/crawler.toml" \
    --no-dns --no-bootstrap --seed-addr "$name:$port" --log warn --json
}
expect() { # what, filter, JSON
  jq -e "$2" <<<"$3" >/dev/null || fail "$1: $3"
  echo "   $1"
}

say "the crawler"
report=$(crawl)
expect "it is visited and good" '.good == 1 and .known == 1 and .outcomes == {"ok": 1}' "$report"
explained=$("$bin/quantumcoin-crawler" explain "$name:$port" --network devnet --data-dir "$dir/crawler" --json)
expect "it is shown by its name" ".addr == \"$name:$port\" and .good and .secure_ms != null" "$explained"

say "the node is gone, then the proxy"
kill "${pids[0]}" && wait "${pids[0]}" 2>/dev/null || true
expect "the proxy's word counts" '.good == 0 and (.outcomes | has("refused") or has("unreachable"))' "$(crawl)"
kill "${pids[1]}" && wait "${pids[1]}" 2>/dev/null || true
expect "a proxy that is gone says nothing" '.outcomes == {"proxy_down": 1}' "$(crawl)"
explained=$("$bin/quantumcoin-crawler" explain "$name:$port" --network devnet --data-dir "$dir/crawler" --json || true)
expect "and counts for nothing" '.probes == 2 and .passed == 1' "$explained"
say "all as expected"
