#!/usr/bin/env bash
# The release binaries as a person would use them: the demonstration, dig against its seeder, the dashboard
# in a browser, metrics through promtool, network_test and a real node process that joins by DNS.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=$(mktemp -d)
demo=
cleanup() {
  [ -z "$demo" ] || kill "$demo" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$dir"
}
trap cleanup EXIT

say() { printf -- '-- %s\n' "$*"; }
fail() { printf 'smoke: %s\n' "$*" >&2; exit 1; }
bin=${CARGO_TARGET_DIR:-target}/release

say "the demonstration ends by itself and passes every measure"
"$bin/examples/p2p_network" --once --json >"$dir/once.out" 2>"$dir/once.err" || {
  cat "$dir/once.err" "$dir/once.out"; fail "p2p_network --once failed"; }
tail -n 1 "$dir/once.out" >"$dir/once.json"
jq -e '.ok and .peers >= 4 and .height >= 500 and all(.measures[]; .pass)' "$dir/once.json" >/dev/null \
  || { cat "$dir/once.json"; fail "a measure failed"; }
jq -r '.measures[] | "   \(.name) \(.seconds)"' "$dir/once.json"

say "the demonstration stays, and is used"
dns_port=15353 http_port=18380
"$bin/examples/p2p_network" --nodes 9 --dns-addr "127.0.0.1:$dns_port" --http-addr "127.0.0.1:$http_port" \
  >"$dir/stay.out" 2>"$dir/stay.err" &
demo=$!
for _ in $(seq 600); do
  grep -q 'Ctrl-C ends it' "$dir/stay.out" && break
  kill -0 "$demo" 2>/dev/null || { cat "$dir/stay.out" "$dir/stay.err"; fail "the demonstration ended"; }
  sleep 0.1
done
grep -q 'every measure passed' "$dir/stay.out" || { cat "$dir/stay.out"; fail "a measure failed"; }
spec=$(sed -n 's/.*--chain-spec \([^ ]*\) .*/\1/p' "$dir/stay.out" | head -n 1)

zone=seed1.quantumcoin.network
ask() { dig @127.0.0.1 -p "$dns_port" +tries=1 +time=3 "$@"; }
expect() { # name, pattern, dig's arguments
  local name=$1 pattern=$2; shift 2
  ask "$@" >"$dir/dig.out" 2>&1 || { cat "$dir/dig.out"; fail "dig: $name"; }
  grep -Eq -- "$pattern" "$dir/dig.out" || { cat "$dir/dig.out"; fail "dig: $name: no $pattern"; }
  echo "   $name"
}
say "dig"
expect "A" "^$zone\..*IN.A.127\.0\.0\." "$zone" A
expect "A, nine nodes" 'ANSWER: 9,' "$zone" A
expect "authoritative" 'flags: qr aa rd;' "$zone" A
expect "AAAA: no such type" 'status: NOERROR.*' "$zone" AAAA
expect "no such type has the SOA" "^$zone\..*IN.SOA" "$zone" AAAA
expect "SRV" 'IN.SRV.[0-9]+ [0-9]+ [0-9]+ [a-z0-9]+\.n\.seed1' "_qtc._tcp.$zone" SRV
expect "SRV has glue" '^[a-z0-9]+\.n\.seed1.*IN.A.127\.0\.0\.' "_qtc._tcp.$zone" SRV
expect "TXT" 'v=qtc1 a=127\.0\.0\.' "$zone" TXT +tcp
expect "NS" "^$zone\..*IN.NS" "$zone" NS
expect "SOA" "^$zone\..*IN.SOA.*" "$zone" SOA
expect "no such name" 'status: NXDOMAIN' "nothing.$zone" A
expect "no such name has the SOA of the apex" "^$zone\..*IN.SOA" "nothing.$zone" A
expect "foreign zone" 'status: REFUSED' example.org A
expect "over TCP" 'SERVER: 127.0.0.1#.*TCP' "$zone" A +tcp
expect "without EDNS" 'status: NOERROR' "$zone" A +noedns
expect "mixed case" '^SeEd1\.QuAntumcoin\.nEtwork\..*IN.A' SeEd1.QuAntumcoin.nEtwork A
expect "service filter" '^x9\.seed1.*IN.A.127' "x9.$zone" A
expect "service filter in capitals" 'IN.A.127' "X9.$zone" A
for n in 2 3 4; do expect "seed$n" 'IN.A.127\.0\.0\.' "seed$n.quantumcoin.network" A; done

say "metrics and health"
curl -fsS "http://127.0.0.1:$http_port/metrics" | promtool check metrics
curl -fsS "http://127.0.0.1:$http_port/health/live" >/dev/null
node_http=$(sed -n 's/.*status --http \([^ ]*\).*/\1/p' "$dir/stay.out" | head -n 1)
curl -fsS "http://$node_http/metrics" | promtool check metrics
"$bin/quantumcoin-node" status --http "$node_http" >"$dir/status"
head -n 6 "$dir/status"

say "dashboard in a browser"
# The page keeps a live stream open for ever, so the browser is told when to stop waiting.
for size in 1280,1060 390,1600; do
  timeout 60 chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync \
    --user-data-dir="$dir/browser" --window-size="$size" --timeout=3000 \
    --screenshot="$dir/dashboard-$size.png" "http://127.0.0.1:$http_port/" >"$dir/chromium.err" 2>&1 \
    || { cat "$dir/chromium.err"; fail "chromium failed"; }
  [ "$(stat -c %s "$dir/dashboard-$size.png")" -gt 20000 ] || fail "the screenshot is empty"
done
if [ -n "${SCREENSHOTS:-}" ]; then mkdir -p "$SCREENSHOTS" && cp "$dir"/dashboard-*.png "$SCREENSHOTS/"; fi
curl -fsS "http://127.0.0.1:$http_port/peers" >"$dir/peers.html"
grep -q '127\.0\.0\.11' "$dir/peers.html" || fail "the dashboard names no peer"
# The stream never ends by itself.
curl -sN --max-time 8 "http://127.0.0.1:$http_port/events" >"$dir/events" || true
grep -q '^data' "$dir/events" || fail "no live updates"

say "network_test from outside"
"$bin/network_test" --dns "127.0.0.1:$dns_port" --seed "$zone"

say "a real node process joins by DNS alone"
"$bin/quantumcoin-node" run --chain-spec "$spec" --data-dir "$dir/node" --resolver "127.0.0.1:$dns_port" \
  --listen 127.0.0.9:0 --http 127.0.0.1:0 --exit-when-synced --log warn

say "a real crawler process finds the nine nodes from one address"
"$bin/quantumcoin-crawler" once --chain-spec "$spec" --data-dir "$dir/crawler" --seed-addr 127.0.0.11:8333 \
  --no-dns --no-bootstrap --json >"$dir/crawl.json" 2>"$dir/crawl.err" \
  || { cat "$dir/crawl.err"; fail "quantumcoin-crawler once failed"; }
jq -e '.good == 9' "$dir/crawl.json" >/dev/null || { cat "$dir/crawl.json"; fail "not nine good peers"; }
"$bin/quantumcoin-crawler" explain --chain-spec "$spec" --data-dir "$dir/crawler" 127.0.0.11:8333 >"$dir/explain"
head -n 1 "$dir/explain"

say "a real seeder process serves what it found"
"$bin/quantumcoin-seeder" run --chain-spec "$spec" --store "$dir/crawler/crawl.sqlite" --listen 127.0.0.1:15354 \
  --http 127.0.0.1:19353 --refresh-seconds 1 2>"$dir/seeder.err" &
seeder=$!
for _ in $(seq 100); do
  [ "$(dig @127.0.0.1 -p 15354 +short +tries=1 +time=1 "$zone" A | grep -c 127)" = 9 ] && break
  kill -0 "$seeder" || { cat "$dir/seeder.err"; fail "the seeder ended"; }
  sleep 0.1
done
[ "$(dig @127.0.0.1 -p 15354 +short "$zone" A | grep -c 127)" = 9 ] || fail "the seeder does not serve nine nodes"
curl -fsS http://127.0.0.1:19353/metrics | promtool check metrics
curl -fsS http://127.0.0.1:19353/health/ready >/dev/null
kill -TERM "$seeder"
wait "$seeder" || fail "the seeder did not end cleanly"

say "junk on every port"
for target in 127.0.0.11/8333 "127.0.0.1/$http_port"; do
  { head -c 20000 /dev/urandom >"/dev/tcp/${target}"; } 2>/dev/null || true
done
head -c 400 /dev/urandom >"/dev/udp/127.0.0.1/$dns_port"
expect "still answers" 'IN.A.127' "$zone" A
kill -0 "$demo" || fail "the demonstration died"

say "a clean end"
kill -INT "$demo"
wait "$demo" || fail "the demonstration did not end cleanly"
demo=
