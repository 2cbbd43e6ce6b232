#!/usr/bin/env bash
# Runs the commands of docs/api.md against a node, as they stand there, and looks at what came of them; holds openapi.json against
# the rules of OpenAPI, /metrics against Prometheus's own tool, and looks at the page in a real browser. Needs the release build, curl,
# jq, promtool, Chromium, Node.js, axe-core (fetched by labs/browser/run.sh) and the Python package openapi-spec-validator; without them
# it says so and skips the rest, unless CI=true.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'api: %s\n' "$*" >&2; exit 1; }
skip() {
  [ "${CI:-}" != true ] || fail "$* (and CI=true: not skipped)"
  printf 'api: SKIPPED, nothing was tested: %s\n' "$*"
  exit 0
}
for program in curl jq promtool; do
  command -v "$program" >/dev/null || skip "$program is not installed (Debian: apt-get install curl jq prometheus)"
done
bin=$(realpath "${CARGO_TARGET_DIR:-target}/release")
[ -x "$bin/quantumcoin-node" ] || skip "there is no release build: cargo build --release --bins"

work=$(mktemp -d)
trap 'kill "${node:-}" 2>/dev/null; wait; rm -rf "$work"' EXIT
QTC_LOG=info "$bin/quantumcoin-node" run --network devnet --data-dir "$work/node" --listen 127.0.0.1:0 --http 127.0.0.1:0 \
  --resolver 127.0.0.1:9 --mine-every 0.05 2>"$work/log" &
node=$!
http=
for _ in $(seq 100); do
  http=$(jq -r 'select(.message == "ready") | .http' <"$work/log" 2>/dev/null || true)
  [ -z "$http" ] || break
  sleep 0.1
done
[ -n "$http" ] || { cat "$work/log" >&2; fail "the node is not ready within 10 s"; }

# All commands of the document, with this node's address and directory in place of the default ones.
awk '/^```sh$/{code = 1; next} /^```$/{code = 0} code' docs/api.md |
  sed "s#127\.0\.0\.1:8332#$http#g; s#^quantumcoin-node tx submit HEX.*#! quantumcoin-node tx submit 00#" >"$work/commands"
[ "$(wc -l <"$work/commands")" -gt 20 ] || fail "docs/api.md has no commands any more"
if ! (
  export DATA_DIR=$work/node QTC_NODE_DATA_DIR=$work/node QTC_NETWORK=devnet QTC_NODE_HTTP=$http PATH=$bin:$PATH
  timeout 60 bash -euo pipefail "$work/commands" >"$work/out" 2>&1
); then
  cat "$work/out" >&2
  fail "a command of docs/api.md fails"
fi
for wanted in '"network":"devnet"' '"direction":"outbound"\|"items":\[\]' '"merkle_root"' 'event: status' '"was_kept":true' \
  '"reason":"scans"' '"code":"bad_request"' '192.0.2.1:8333 is being dialled' '198.51.100.0/24 is kept out' 'operator'; do
  grep -q -- "$wanted" "$work/out" || { cat "$work/out" >&2; fail "there is no $wanted"; }
done

curl -sf "http://$http/metrics" >"$work/metrics"
promtool check metrics <"$work/metrics" || fail "promtool does not like /metrics"
curl -sf "http://$http/api/v1/openapi.json" | cmp - node/openapi.json || fail "another openapi.json than in the sources"
python3 -c 'import openapi_spec_validator' 2>/dev/null ||
  python3 -m pip install --quiet --break-system-packages openapi-spec-validator 2>/dev/null ||
  skip "the Python package openapi-spec-validator is missing"
python3 -c 'import json, openapi_spec_validator as v; v.validate(json.load(open("node/openapi.json")))' ||
  fail "openapi.json is no OpenAPI 3.1"

# The page in a real browser, where labs/browser/run.sh has fetched axe-core before.
axe=${CARGO_TARGET_DIR:-target}/browser/node_modules/axe-core/axe.min.js
for program in chromium node; do
  command -v "$program" >/dev/null || skip "$program is not installed (Debian: apt-get install chromium nodejs)"
done
[ -f "$axe" ] || skip "axe-core is missing: run labs/browser/run.sh first"
QTC_NODE_DATA_DIR=$work/node QTC_NETWORK=devnet "$bin/quantumcoin-node" ban 198.51.100.9 --http "$http" --for ever \
  --reason "<script>document.title='owned'</script>" >/dev/null
node labs/browser/node.mjs "http://$http/" "$axe" "${SCREENSHOTS:-}" || fail "the page is not as it should be"
printf 'api: every command of docs/api.md did what it says; metrics, openapi.json and the page are in order\n'
