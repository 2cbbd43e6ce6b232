#!/usr/bin/env bash
# The real node finds a peer through real resolvers: BIND with a signed root, signed, unsigned and damaged zones below it;
# unbound before it over UDP, TLS and HTTPS, once validating and once not; dnsmasq, which hands on what it likes. See
# README.md. Exit code 0 says that all is as expected. Needs no root; without the programs it says so and skips, unless
# CI=true.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { printf 'dns lab: %s\n' "$*" >&2; exit 1; }
say() { printf -- '-- %s\n' "$*"; }
skip() {
  [ "${CI:-}" != true ] || fail "$* (and CI=true: not skipped)"
  printf 'dns lab: SKIPPED, nothing was tested: %s\n' "$*"
  exit 0
}

PATH=$PATH:/usr/sbin
for program in named dnssec-keygen dnssec-signzone unbound dnsmasq dig openssl jq curl; do
  command -v "$program" >/dev/null \
    || skip "$program is not installed (Debian: apt-get install bind9 bind9-dnsutils unbound dnsmasq-base openssl jq curl)"
done
node=${NODE:-${CARGO_TARGET_DIR:-target}/release/quantumcoin-node}
[ -x "$node" ] || fail "$node is missing: cargo build --release -p quantumcoin-node, or NODE=path"
node=$(realpath "$node")

dir=$(mktemp -d)
chmod 755 "$dir"
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  [ -n "${KEEP:-}" ] && { printf 'dns lab: files in %s\n' "$dir" >&2; return; }
  rm -rf "$dir"
}
trap cleanup EXIT

# Loopback ports of the authority, of the validating unbound (UDP and TCP, TLS, HTTPS), of the other unbound, of dnsmasq,
# of the peer and of nobody.
authority=5301 resolver=5353 tls=5853 https=5443 unvalidating=5354 stripping=5355 peer=18555 nobody=5999
cd "$dir"

say "zones"
text="v=qtc1 a=127.0.0.1:$peer s=9 t=noise"
head_of() { # origin
  printf '$ORIGIN %s\n$TTL 60\n@ SOA ns.test. host.test. 1 60 60 3600 60\n@ NS ns.test.\n' "$1"
}
{ head_of .; printf 'test. NS ns.test.\nns.test. A 127.0.0.1\n'; } >root.zone
{ head_of test.; printf 'ns A 127.0.0.1\nseed NS ns\nplain NS ns\nbogus NS ns\n'; } >test.zone
for zone in seed plain bogus; do
  { head_of "$zone.test."; printf '@ TXT "%s"\n@ A 127.0.0.77\n' "$text"; } >"$zone.test.zone"
done

sign() { # zone, file, options of dnssec-signzone
  local zone=$1 file=$2; shift 2
  dnssec-keygen -q -a ECDSAP256SHA256 -f KSK "$zone" >>"$file.keys"
  dnssec-keygen -q -a ECDSAP256SHA256 "$zone" >>"$file.keys"
  while read -r key; do cat "$key.key" >>"$file"; done <"$file.keys"
  dnssec-signzone -Q -g -d . -o "$zone" "$@" "$file" >/dev/null
}
# From the leaves up: a signed parent takes its children's DS from the files beside it. One zone denies by NSEC3 with
# opt-out, as large parents do.
sign seed.test. seed.test.zone
sign bogus.test. bogus.test.zone
sign test. test.zone -3 - -A
sign . root.zone
sed -i 's/127\.0\.0\.77/127.0.0.66/; s/\(v=qtc1 a=\)127\.0\.0\.1:/\1127.0.0.66:/' bogus.test.zone.signed
grep -h DNSKEY root.zone | grep -v '^;' >anchor.key

cat >named.conf <<END
options {
  directory "$dir"; pid-file none; session-keyfile none; managed-keys-directory "$dir";
  listen-on port $authority { 127.0.0.1; }; listen-on-v6 { none; };
  recursion no; notify no; dnssec-validation no; empty-zones-enable no;
};
controls { };
zone "." { type primary; file "root.zone.signed"; };
zone "test" { type primary; file "test.zone.signed"; };
zone "seed.test" { type primary; file "seed.test.zone.signed"; };
zone "bogus.test" { type primary; file "bogus.test.zone.signed"; };
zone "plain.test" { type primary; file "plain.test.zone"; };
END
named -g -c named.conf >named.log 2>&1 &
pids+=($!)

say "certificates"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=dns lab authority" \
  -keyout ca.pem.key -out ca.pem 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=dns.test" \
  -keyout server.key -out server.csr 2>/dev/null
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.pem.key -CAcreateserial -days 2 -out server.pem \
  -extfile <(printf 'subjectAltName=DNS:dns.test,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n') 2>/dev/null

say "resolvers"
unbound_conf() { # name, modules, interfaces...
  local name=$1 modules=$2; shift 2
  printf 'server:\n  directory: "%s"\n  chroot: ""\n  username: ""\n  pidfile: ""\n  use-syslog: no\n' "$dir"
  printf '  module-config: "%s"\n  do-not-query-localhost: no\n  do-ip6: no\n  local-zone: "test." nodefault\n' "$modules"
  printf '  root-hints: ""\n  num-threads: 1\n  interface: %s\n' "$@"
  case $modules in validator*)
    printf '  trust-anchor-file: "anchor.key"\n  tls-port: %s\n  https-port: %s\n' "$tls" "$https"
    printf '  tls-service-key: "server.key"\n  tls-service-pem: "server.pem"\n' ;;
  esac
  printf 'remote-control:\n  control-enable: no\n'
  for zone in . test. seed.test. plain.test. bogus.test.; do
    printf 'stub-zone:\n  name: "%s"\n  stub-addr: 127.0.0.1@%s\n' "$zone" "$authority"
  done
}
unbound_conf validating "validator iterator" "127.0.0.1@$resolver" "127.0.0.1@$tls" "127.0.0.1@$https" >validating.conf
unbound_conf unvalidating iterator "127.0.0.1@$unvalidating" >unvalidating.conf
for name in validating unvalidating; do
  unbound -d -c "$name.conf" >"$name.log" 2>&1 &
  pids+=($!)
done
dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --port="$stripping" --listen-address=127.0.0.1 \
  --bind-interfaces --server="127.0.0.1#$resolver" --pid-file= --user= --log-facility=- >dnsmasq.log 2>&1 &
pids+=($!)

ask() { dig @127.0.0.1 +tries=1 +time=1 "$@"; }
ready() { # what, pattern, dig's arguments
  local what=$1 pattern=$2; shift 2
  for _ in $(seq 100); do
    ask "$@" >ask.out 2>&1 && grep -Eq -- "$pattern" ask.out && { echo "   $what"; return; }
    sleep 0.1
  done
  cat ask.out named.log validating.log unvalidating.log dnsmasq.log >&2
  fail "$what: no $pattern"
}
ready "BIND serves the signed root" 'RRSIG.DNSKEY' -p "$authority" . DNSKEY +dnssec
ready "unbound proves the signed zone" 'flags:.* ad' -p "$resolver" seed.test TXT +dnssec
ready "unbound knows the unsigned one" 'v=qtc1' -p "$resolver" plain.test TXT
ready "unbound refuses the damaged one" 'SERVFAIL' -p "$resolver" bogus.test TXT
ready "over TLS" 'v=qtc1' -p "$tls" +tls seed.test TXT
ready "over HTTPS" 'v=qtc1' -p "$https" +https seed.test TXT
ready "the other unbound hands on the damaged one" '127.0.0.66' -p "$unvalidating" bogus.test TXT +dnssec
ready "dnsmasq answers" 'v=qtc1' -p "$stripping" seed.test TXT

say "a peer"
"$node" run --network devnet --data-dir "$dir/peer" --listen "127.0.0.1:$peer" --http 127.0.0.1:18556 --outbound 0 \
  --resolver "127.0.0.1:$nobody" --dns-seed none.test --log warn >peer.log 2>&1 &
pids+=($!)

# Runs a node that knows nothing but one seed until its status fulfils a condition.
anchor=(--trust-anchor anchor.key)
expect() { # what, condition on the status, seed, resolvers with commas between, more flags of the node
  local what=$1 condition=$2 pid http=127.0.0.1:18557
  local asked=(--dns-seed "$3" --resolver "$4")
  shift 4
  rm -rf "$dir/data"
  "$node" run --network devnet --data-dir "$dir/data" --listen 127.0.0.1:18558 --http "$http" --log info \
    --resolver-ca ca.pem "${anchor[@]}" "${asked[@]}" "$@" >node.log 2>&1 &
  pid=$!
  pids+=("$pid")
  for _ in $(seq 150); do
    kill -0 "$pid" 2>/dev/null || { cat node.log >&2; fail "$what: the node ended"; }
    if "$node" status --http "$http" --json >status.json 2>/dev/null \
      && jq -e "$condition" status.json >/dev/null; then
      printf '   %s: %s\n' "$what" "$(jq -c '[.seeds[] | {validation, answered, first_answer_us}]' status.json)"
      kill "$pid"; wait "$pid" || true
      return
    fi
    sleep 0.1
  done
  cat status.json node.log >&2
  fail "$what: never $condition"
}
connected='(.peers | length) >= 1'
nothing='(.peers | length) == 0 and .seeds[0].addresses == 0'
is() { printf '(.seeds | length) == 1 and .seeds[0].validation == "%s"' "$1"; }
says() { printf '(.seeds[0].error // "" | contains("%s"))' "$1"; }
udp=127.0.0.1:$resolver
dot="tls://127.0.0.1:$tls#dns.test"
doh="https://127.0.0.1:$https/dns-query#dns.test"

say "the node"
for way in "$udp" "$dot" "$doh"; do
  expect "signed, by $way" "$connected and $(is secure)" seed.test "$way" --dnssec require
  expect "unsigned, by $way" "$connected and $(is insecure)" plain.test "$way"
  expect "unsigned and forbidden, by $way" "$nothing and $(is insecure)" plain.test "$way" --dnssec require
done
expect "no such name, proven" "$nothing and $(is secure)" none.seed.test "$udp" --dnssec require
expect "the address certifies as well" "$connected" seed.test "tls://127.0.0.1:$tls" --dnssec require
expect "damaged" "$nothing and $(is bogus)" bogus.test "127.0.0.1:$unvalidating"
grep -q dns_bogus node.log || { cat node.log >&2; fail "the log does not tell of the damaged zone"; }
expect "damaged, and refused by the resolver" "$nothing and $(says "Server Failure")" bogus.test "$udp"
expect "another name than the certificate's" "$nothing and $(says certificate)" \
  seed.test "tls://127.0.0.1:$tls#other.test"
expect "TLS blocked, another left" "$connected" seed.test "tls://127.0.0.1:$nobody#dns.test,$udp"
expect "a router's forwarder" "$connected" seed.test "127.0.0.1:$stripping"

# With MEASURE=n: each way, n nodes from nothing, and the microseconds until the first address. A JSON line for each.
if [ -n "${MEASURE:-}" ]; then
  say "the time until the first address, $MEASURE nodes each"
  for way in "$udp" "$dot" "$doh"; do
    for dnssec in off signed; do
      anchor=(--trust-anchor anchor.key)
      [ "$dnssec" = signed ] || anchor=()
      for _ in $(seq "$MEASURE"); do
        expect "$way" '.seeds[0].first_answer_us != null' seed.test "$way" --dnssec "$dnssec" >/dev/null
        jq '.seeds[0].first_answer_us' status.json
      done | sort -n | jq -sc --arg resolver "$way" --arg dnssec "$dnssec" \
        '{$resolver, $dnssec, runs: length, min_us: .[0], median_us: .[length / 2 | floor], max_us: .[-1]}'
    done
  done
fi

printf 'dns lab: all is as expected\n'
