# shellcheck shell=bash
# The lab's world, for run.sh: network, keys, zones and servers, all below the current directory.

# Addresses of the public internet, since checkers rightly complain of private ones; nothing leaves the namespace. Four
# servers, each in prefixes of its own.
a4=45.10.0.1 a6=2a10:1::1 b4=62.20.0.1 b6=2a10:2::1               # BIND: the root and network.
one4=81.30.0.53 one6=2a10:3::53 two4=91.40.0.53 two6=2a10:4::53   # the seeders
cold4=127.0.0.9 empty4=127.0.0.10                                 # seeders without a crawl
resolver=127.0.0.1
# Judges work at the same time. Where they let themselves be told, they ask from networks of their own, lest they use up
# each other's allowance of responses and signatures. compliance takes others of these two ranges, one for each case.
unbound4=10.250.0.1 unbound6=fd00:fa::1 dnsviz4=10.251.0.1 dnsviz6=fd00:fb::1

network() {
  local address
  ip link set lo up
  for address in $a4/32 $b4/32 $one4/32 $two4/32; do ip address add "$address" dev lo; done
  for address in $a6/128 $b6/128 $one6/128 $two6/128; do ip address add "$address" dev lo nodad; done
  # dnsviz asks no address family without a route to the internet.
  ip route add default dev lo src $a4
  ip -6 route add default dev lo src $a6
  ip route add local 10.0.0.0/8 dev lo
  ip -6 route add local fd00::/16 dev lo
  echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind
  printf 'nameserver %s\n' "$resolver" >resolv.conf
  mount --bind resolv.conf "$(realpath /etc/resolv.conf)"
}

# --- keys and zones --------------------------------------------------------------------------------------------------

# seed1 has one key made by the seeder, seed2 a pair made by BIND, plain none.
keys() {
  local flag key zone
  mkdir -m 700 keys
  "$seeder" keys generate --zone seed1.network --keys keys >/dev/null
  for flag in "-f KSK" ""; do
    # shellcheck disable=SC2086 # two words
    dnssec-keygen -q -K keys -a ED25519 $flag seed2.network >/dev/null
  done
  # Entry points that are old enough to be in CDS and CDNSKEY; new ones wait two hours.
  for key in $(grep -l 'DNSKEY 257' keys/*.key); do
    dnssec-settime -K keys -P sync now-1d "$(basename "$key" .key)" >/dev/null
  done
  # dnssec-signzone -g takes the DS of children from such files.
  for zone in $signed; do "$seeder" keys ds --zone "$zone" --keys keys >"dsset-$zone."; done
}

head_of() { # origin
  printf '$ORIGIN %s\n$TTL 3600\n@ SOA a.nic.network. hostmaster.ops.network. 1 14400 3600 1209600 300\n' "$1"
  printf '@ NS a.nic.network.\n@ NS b.nic.network.\n'
}

addresses() { # name, IPv4, IPv6, and again
  while [ $# -gt 0 ]; do printf '%s %s %s\n' "$1" A "$2" "$1" AAAA "$3"; shift 3; done
}
pointers() { # IPv4, IPv6, names
  local four=${reverse[$1]} six=${reverse[$2]}; shift 2
  while [ $# -gt 0 ]; do printf '%s PTR %s\n' "$four" "$1" "$six" "$1"; shift; done
}
# Of which network addresses are: zonemaster asks this name when it looks for single points of failure.
origins() { # IPv4, its prefix, IPv6, its prefix, AS
  local four=${reverse[$1]/%in-addr.arpa./origin} six=${reverse[$3]/%ip6.arpa./origin6}
  printf '%s TXT "%s | %s | ZZ | lab |"\n' "$four" "$5" "$2" "$six" "$5" "$4"
}

# seed1 has two name servers within itself, each with addresses of its own; seed2 has one within and one outside; those
# of plain are outside.
zone_files() {
  local asn=asnlookup.zonemaster.net. address name
  local -A reverse
  while read -r address name; do reverse[$address]=$name; done < <(python3 -c '
import ipaddress, sys
for address in sys.argv[1:]: print(address, ipaddress.ip_address(address).reverse_pointer + ".")
' $a4 $a6 $b4 $b6 $one4 $one6 $two4 $two6)
  {
    head_of .
    printf '%s NS a.nic.network.\n%s NS b.nic.network.\n' network. network. $asn $asn
    addresses a.nic.network. $a4 $a6 b.nic.network. $b4 $b6
    pointers $a4 $a6 a.nic.network.
    pointers $b4 $b6 b.nic.network.
    pointers $one4 $one6 ns1.seed1.network. ns1.seed2.network.
    pointers $two4 $two6 ns2.seed1.network. ns2.ops.network.
  } >root.zone
  {
    head_of $asn
    origins $one4 81.30.0.0/16 $one6 2a10:3::/32 64501
    origins $two4 91.40.0.0/16 $two6 2a10:4::/32 64502
    origins $a4 45.10.0.0/16 $a6 2a10:1::/32 64503
    origins $b4 62.20.0.0/16 $b6 2a10:2::/32 64504
  } >asn.zone
  {
    head_of network.
    addresses a.nic $a4 $a6 b.nic $b4 $b6 ns2.ops $two4 $two6 mail.ops $b4 $b6
    printf 'ops MX 10 mail.ops\n'
    printf '%s NS %s\n' seed1 ns1.seed1 seed1 ns2.seed1 seed2 ns1.seed2 seed2 ns2.ops
    printf 'plain NS %s\n' ns1.seed1 ns2.seed1
    addresses ns1.seed1 $one4 $one6 ns2.seed1 $two4 $two6 ns1.seed2 $one4 $one6
  } >network.zone
  sign network. network.zone
  sign . root.zone
  grep -h 'DNSKEY 257' root.zone >root.key
  printf 'trust-anchors {\n' >root.anchors
  awk '/DNSKEY/ { for (i = 1; i <= NF; i++) if ($i == "DNSKEY") at = i
    printf "  . static-key %s %s %s \"", $(at + 1), $(at + 2), $(at + 3)
    for (i = at + 4; i <= NF; i++) printf "%s", $i; print "\";" }' root.key >>root.anchors
  printf '};\n' >>root.anchors
  {
    printf '. NS a.nic.network.\n. NS b.nic.network.\n'
    addresses a.nic.network. $a4 $a6 b.nic.network. $b4 $b6
  } >root.hints
}

sign() { # zone, file
  local key
  dnssec-keygen -q -a ECDSAP256SHA256 -f KSK "$1" >>"$2.keys"
  dnssec-keygen -q -a ECDSAP256SHA256 "$1" >>"$2.keys"
  while read -r key; do cat "$key.key" >>"$2"; done <"$2.keys"
  dnssec-signzone -Q -g -d . -o "$1" "$2" >/dev/null
}

# --- servers ---------------------------------------------------------------------------------------------------------

servers() {
  local server
  start_bind
  python3 "$lab/peers.py" store "$migrations" crawl.sqlite "$mainnet"
  python3 "$lab/peers.py" spec "$mainnet" spec.toml
  start_seeder one 9351 --listen "$one4:53" --listen "[$one6]:53" "${delegated[@]}"
  start_seeder two 9352 --listen "$two4:53" --listen "[$two6]:53" "${delegated[@]}"
  # Without a crawl: one with bootstrap nodes in its chain spec, one with nothing.
  start_seeder cold 9353 --listen "$cold4:53" --listen 0.0.0.0:5399 --listen '[::]:5399' --store none.sqlite \
    --chain-spec spec.toml --zone cold.network --ns ns.ops.network
  start_seeder empty 9354 --listen "$empty4:53" --store none.sqlite --zone empty.network --ns ns.ops.network
  start_unbound
  ready "BIND serves the signed root" 'RRSIG.DNSKEY' @$a4 . DNSKEY +dnssec
  for server in $one4 $one6 $two4 $two6; do
    ready "a seeder serves seed1" 'RRSIG.A' "@$server" seed1.network A +dnssec
  done
  ready "the cold seeder answers" 'status: NOERROR' @$cold4 cold.network A
  ready "the empty seeder answers" 'status: NOERROR' @$empty4 empty.network A
  ready "unbound proves a signed zone" 'flags:.* ad' @$resolver seed1.network A +dnssec
}

start_bind() {
  cat >named.conf <<END
options {
  directory "$dir"; pid-file none; session-keyfile none; managed-keys-directory "$dir";
  listen-on { $a4; $b4; }; listen-on-v6 { $a6; $b6; };
  recursion no; notify no; dnssec-validation no; empty-zones-enable no;
};
controls { };
zone "." { type primary; file "root.zone.signed"; };
zone "network" { type primary; file "network.zone.signed"; };
zone "asnlookup.zonemaster.net" { type primary; file "asn.zone"; };
END
  named -g -c named.conf >named.log 2>&1 &
}

# What both seeders serve; what differs for seed2 is in their files.
delegated=(--store crawl.sqlite --keys keys --contact hostmaster@ops.network
  --zone seed1.network --zone seed2.network --zone plain.network)
# In the file, since flags would count for all zones.
own_servers="
name_servers = [\"ns1.seed1.network\", \"ns2.seed1.network\"]
name_server_addresses = [\"ns1.seed1.network=$one4\", \"ns1.seed1.network=$one6\",
  \"ns2.seed1.network=$two4\", \"ns2.seed1.network=$two6\"]
[[zone]]
name = \"seed2.network\"
name_servers = [\"ns1.seed2.network\", \"ns2.ops.network\"]
name_server_addresses = [\"$one4\", \"$one6\"]"

start_seeder() { # name, http port, further arguments
  local name=$1 http=$2; shift 2
  printf 'version = "lab"\nid = "%s"\ncookie_secret = "000102030405060708090a0b0c0d0e0f"\n' "$name" >"$name.toml"
  case $name in one | two) printf '%s\n' "$own_servers" >>"$name.toml" ;; esac
  "$seeder" run --config "$name.toml" --http "127.0.0.1:$http" --refresh-seconds 5 "$@" >"$name.log" 2>&1 &
}

start_unbound() {
  cat >unbound.conf <<END
server:
  directory: "$dir"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  verbosity: 1
  num-threads: 1
  interface: $resolver
  outgoing-interface: $unbound4
  outgoing-interface: $unbound6
  module-config: "validator iterator"
  trust-anchor-file: "root.key"
  root-hints: "root.hints"
  do-not-query-localhost: no
  val-log-level: 2
  # As strict as it can be made.
  harden-short-bufsize: yes
  harden-large-queries: yes
  harden-glue: yes
  harden-dnssec-stripped: yes
  harden-below-nxdomain: yes
  harden-referral-path: yes
  harden-algo-downgrade: yes
  use-caps-for-id: yes
  qname-minimisation: yes
  qname-minimisation-strict: yes
  aggressive-nsec: yes
  minimal-responses: no
  edns-buffer-size: 1232
remote-control:
  control-enable: no
END
  unbound -d -c unbound.conf >unbound.log 2>&1 &
}

ready() { # what, pattern, dig's arguments
  local what=$1 pattern=$2; shift 2
  for _ in $(seq 100); do
    dig +tries=1 +time=1 "$@" >ask.out 2>&1 && grep -Eq -- "$pattern" ask.out && return
    sleep 0.1
  done
  cat ask.out ./*.log >&2
  fail "$what: no $pattern"
}
