#!/usr/bin/env bash
# Alerts and panels of deploy/ against the real things: promtool checks the rules and runs their tests; Debian's Prometheus asks a
# node, a crawler and a seeder, and for every expression of a rule or a panel the metrics that it names must be there. Needs the
# release build, prometheus, jq and curl; without them it says so and skips, unless CI=true. Neither root nor the internet.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'monitor: %s\n' "$*" >&2; exit 1; }
skip() {
  [ "${CI:-}" != true ] || fail "$* (and CI=true: not skipped)"
  printf 'monitor: SKIPPED, nothing was tested: %s\n' "$*"
  exit 0
}
for program in prometheus promtool jq curl openssl; do
  command -v "$program" >/dev/null || skip "$program is not installed (Debian: apt-get install prometheus jq curl openssl)"
done
bin=$(realpath "${CARGO_TARGET_DIR:-target}/release")
rules=$PWD/deploy/prometheus/quantumcoin.rules.yml
panels=$PWD/deploy/grafana/quantumcoin.json

(cd deploy/prometheus && promtool check config prometheus.yml && promtool test rules quantumcoin.test.yml)
# An alert without a test is none that anybody relies on.
diff <(grep -o 'alert: .*' "$rules" | sort) <(grep -o 'alertname: .*' deploy/prometheus/quantumcoin.test.yml | sed 's/alertname/alert/' | sort -u) ||
  fail "alerts and their tests are not the same"

work=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
start() { "$@" >>"$work/log" 2>&1 & pids+=($!); }

export QTC_NETWORK=devnet
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ns1.seed.test -keyout "$work/key.pem" \
  -out "$work/certificate.pem" 2>/dev/null
printf '[tls]\nlisten = ["127.0.0.1:18725"]\ncertificate = "%s/certificate.pem"\nkey = "%s/key.pem"\n' "$work" "$work" >"$work/seeder.toml"
for i in 1 2; do
  start "$bin/quantumcoin-node" run --data-dir "$work/node$i" --listen "127.0.0.3$i:8333" --http "127.0.0.1:1872$i" --nat off \
    --dns-seed none.invalid --resolver 127.0.0.1:9 $( ((i == 1)) && echo --mine-every 1 || echo --connect 127.0.0.31:8333)
done
start "$bin/quantumcoin-crawler" run --data-dir "$work/crawl" --seed-addr 127.0.0.31:8333 --no-dns --http 127.0.0.1:18723
start "$bin/quantumcoin-seeder" run --zone seed.test --config "$work/seeder.toml" --listen 127.0.0.1:18724 --http 127.0.0.1:18726 \
  --store "$work/crawl/crawl.sqlite" --refresh-seconds 1
sed -e 's/15s/1s/' -e 's/127.0.0.1:8332/127.0.0.1:18721/' -e 's/127.0.0.1:8380/127.0.0.1:18723/' \
  -e 's/127.0.0.1:9353/127.0.0.1:18726/' -e "s#- quantumcoin.rules.yml#- $rules#" deploy/prometheus/prometheus.yml >"$work/prometheus.yml"
start prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" --web.listen-address=127.0.0.1:18727

ask() { curl -fsS --get "http://127.0.0.1:18727/api/v1/query" --data-urlencode "query=$1"; }
until [ "$(ask 'count(up == 1)' 2>/dev/null | jq -r '.data.result[0].value[1]')" = 3 ]; do
  ((SECONDS < 60)) || { tail -20 "$work/log" >&2; fail "Prometheus does not get the three programs' metrics"; }
  sleep 0.2
done

# Every metric that a rule or a panel names, and every expression by itself.
named=$(grep -Eoh '\b(quantumcoin_node|qtc_crawler|qtc_seeder)_[a-z0-9_]+' "$rules" "$panels" | sort -u)
for metric in $named; do
  until [ "$(ask "count($metric)" | jq '.data.result | length')" = 1 ]; do
    ((SECONDS < 60)) || fail "no program tells $metric"
    sleep 0.2
  done
done
shown=0
while read -r expression; do
  until [ "$(ask "$expression" | jq '.data.result | length')" -ge 1 ]; do
    ((SECONDS < 60)) || fail "a panel is empty: $expression"
    sleep 0.2
  done
  shown=$((shown + 1))
done < <(jq -r '.panels[].targets[]?.expr' "$panels")
curl -fsS http://127.0.0.1:18727/api/v1/rules | jq -e '[.data.groups[].rules[]] | length > 20 and all(.health != "err")' >/dev/null ||
  fail "a rule can't be evaluated"
printf 'monitor: %s metrics are there, %s panels show data, all rules are evaluated\n' "$(wc -w <<<"$named")" "$shown"
