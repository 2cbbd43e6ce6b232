# shellcheck shell=bash
# Who judges the seeders, for run.sh: each function judge_NAME is one judge and knows nothing of the others.

# at_once NAME...: runs judges side by side. What each says is told when it has ended, in this order.
at_once() {
  local name judges=()
  for name; do
    "judge_$name" >"$name.said" 2>"$name.complained" &
    judges+=($!)
  done
  for name; do
    wait "${judges[0]}" || finding "$name has ended with $?"
    judges=("${judges[@]:1}")
    say "${name//_/ }"
    cat "$name.said"
    cat "$name.complained" >&2
  done
}

# names_of ZONE: of each kind of name one.
names_of() { printf "%s.$1 " x9 X408 nosuchname _tcp n _qtc._tcp _qtc._tcp.x9 cqaqcai.n aaaaaaa.n; printf '%s' "$1"; }

# --- zonemaster and dnsviz -------------------------------------------------------------------------------------------

# Every finding of zonemaster from NOTICE up has to be one of these.
declare -A allowed=(
  [REFRESH_MINIMUM_VALUE_LOWER]="SOA timers are for secondaries, and there are none: each server reads the store itself"
  [RETRY_MINIMUM_VALUE_LOWER]="the same"
  [SOA_DEFAULT_TTL_MAXIMUM_VALUE_LOWER]="60 s: a filter that finds nobody now may find someone at the next refresh"
  [Z09_MISSING_MAIL_TARGET]="nobody gets mail at the name of a seed"
  [MULTIPLE_SOA_SERIALS]="the serial is the time at which a server drew its peers; the two draw at different times"
  [SOA_SERIAL_VARIATION]="the same" [Z01_MNAME_NOT_MASTER]="the same: its serial is below the other's"
  # A zone without signatures is what plain is for.
  [plain.network:NOT_SIGNED]="on purpose" [plain.network:NEITHER_DNSKEY_NOR_DS]="on purpose"
)

judge_zonemaster() {
  local zone level tag arguments
  # shellcheck disable=SC2016 # jq's
  local above='.. | objects | select(.tag?) | select(.level != "INFO") | [.level, .tag, (.args | tojson)] | @tsv'
  for zone in $zones; do
    zonemaster-cli --hints root.hints --json --level INFO --no-progress "$zone" >zonemaster.json 2>zonemaster.err
    [ ! -s zonemaster.err ] || finding "zonemaster on $zone: $(cat zonemaster.err)"
    jq -r "$above" zonemaster.json >zonemaster.tsv
    while IFS=$'\t' read -r level tag arguments; do
      [ -n "${allowed[$tag]:-}${allowed[$zone:$tag]:-}" ] || finding "zonemaster on $zone: $level $tag $arguments"
    done <zonemaster.tsv
    # That it has looked at all: good news of each module, and of both address families.
    for tag in ENOUGH_IPV4_NS_CHILD ENOUGH_IPV6_NS_CHILD IPV4_DIFFERENT_ASN IPV6_DIFFERENT_ASN; do
      grep -q "\"$tag\"" zonemaster.json || finding "zonemaster on $zone does not say $tag"
    done
  done
}

# It has the addresses of the real root built in as a file of its own.
judge_dnsviz() {
  local zone
  await_packages
  cp root.hints venv/share/dnsviz/hints/named.root
  for zone in $zones; do dnsviz_of "$zone"; done
}

dnsviz_of() { # zone
  local zone=$1 level=info line
  # shellcheck disable=SC2046 # many names
  venv/bin/dnsviz probe -A -a . -E -t 4 -b $dnsviz4 -b $dnsviz6 -R SOA,A,AAAA,TXT,SRV -o "$zone.probe" \
    $(names_of "$zone") 2>"$zone.err" || finding "dnsviz probe on $zone: $(tail -n 3 "$zone.err")"
  # At level info it stumbles (KeyError) over denials of any unsigned zone, BIND's too; at level warning it says nothing
  # of what is good.
  [ "$zone" != plain.network ] || level=warning
  venv/bin/dnsviz grok -l $level -t root.key -r "$zone.probe" >"$zone.grok" 2>"$zone.err" \
    || finding "dnsviz grok on $zone: $(tail -n 3 "$zone.err")"
  jq -r 'paths(type == "array") as $p | select($p[-1] == "errors" or $p[-1] == "warnings")
    | ($p | map(tostring) | join("/")) + ": " + (getpath($p) | tojson)' "$zone.grok" >"$zone.viz"
  while read -r line; do finding "dnsviz on $zone: $line"; done <"$zone.viz"
  [ "$zone" != plain.network ] || return 0
  jq -e '[.. | objects | .status? // empty] as $all | ($all | index("SECURE"))
    and ($all - ["SECURE", "VALID", "NOERROR", "NXDOMAIN"] == [])' "$zone.grok" >/dev/null \
    || finding "dnsviz on $zone: not all is secure"
}

# --- drill, delv and unbound -----------------------------------------------------------------------------------------

# The whole way from the root to the answer; [T] is trusted, [U] unsigned, [S] and [B] would be without a way and bogus.
judge_drill() {
  local zone mark names name kind last
  for zone in $zones; do
    mark=T names=$(names_of "$zone")
    # In unsigned zones, BIND's too, it asks for proofs of what lies between the zone and a name two labels below.
    [ "$zone" != plain.network ] || { mark=U; names="$zone x9.$zone _tcp.$zone n.$zone nosuchname.$zone"; }
    for name in $names; do
      for kind in A MX; do
        drill -TD -k root.key -r root.hints "$name" "$kind" >drill.out 2>&1 \
          || finding "drill -TD $name $kind ends with $?"
        # The last line that has a mark tells of the answer.
        last=$(grep -E '^\[.\]' drill.out | tail -n 1)
        [[ $last = "[$mark]"* ]] || finding "drill -TD $name $kind: $last"
        ! grep -E '^\[[SB]\]' drill.out >/dev/null || finding "drill -TD $name $kind: $(grep -E '^\[[SB]\]' drill.out)"
        [ "$mark" = T ] || continue
        drill -S -k root.key "@$resolver" "$name" "$kind" >drill.out 2>&1 \
          || finding "drill -S $name $kind ends with $?"
        grep -q 'Chase successful' drill.out || finding "drill -S $name $kind: $(tail -n 1 drill.out)"
      done
    done
  done
}

judge_delv_and_unbound() {
  local zone positive negative flags name kind status expected
  for zone in $zones; do
    positive="; fully validated" flags="flags:.* ad" negative="; negative response, fully validated"
    if [ "$zone" = plain.network ]; then
      positive="; unsigned answer" negative="; negative response, unsigned answer" flags="flags: qr rd ra;"
    fi
    while read -r name kind status; do
      expected=$positive
      [ "$status" = NOERROR ] || expected=$negative
      delv "@$resolver" -a root.anchors +root=. "$name" "$kind" >delv.out 2>&1
      grep -qFx -- "$expected" delv.out \
        || finding "delv $name $kind: no '$expected', but $(grep '^;' delv.out | head -n 2)"
      dig "@$resolver" "$name" "$kind" +adflag >dig.out 2>&1
      grep -q "status: ${status/NODATA/NOERROR}," dig.out && grep -q "$flags" dig.out \
        || finding "unbound $name $kind: $(grep -E 'status|flags: qr' dig.out | tr '\n' ' ')"
    done < <(asked_of "$zone")
  done
  for zone in $signed; do
    for kind in DS DNSKEY CDS CDNSKEY; do proven "$zone" $kind; done
  done
  for name in ns1.seed1 ns2.seed1 ns1.seed2; do
    for kind in A AAAA; do proven "$name.network" $kind; done
  done
}

proven() { # name, type
  dig "@$resolver" "$1" "$2" +adflag | grep -q 'flags:.* ad' || finding "unbound does not prove $1 $2"
}

# Names and types of a zone, and what is to come of it; NODATA is NOERROR without an answer. Of what is denied unbound
# infers more by itself (RFC 8198), so that a proof of too much shows in the names behind it.
asked_of() {
  local zone=$1 long last
  long=$(printf 'q%.0s' {1..63}) last=$(printf '\\255%.0s' {1..63})
  cat <<END
$zone A NOERROR
$zone AAAA NOERROR
$zone TXT NOERROR
$zone NS NOERROR
$zone SOA NOERROR
$zone ANY NOERROR
$zone MX NODATA
$zone CAA NODATA
x9.$zone A NOERROR
X9.$zone AAAA NOERROR
x408.$zone TXT NOERROR
x8000000000000000.$zone A NOERROR
x8000000000000000.$zone AAAA NODATA
x2000000000000000.$zone A NODATA
x9.$zone MX NODATA
_qtc._tcp.$zone SRV NOERROR
_qtc._tcp.x408.$zone SRV NOERROR
_qtc._tcp.x9.$zone A NODATA
_tcp.$zone A NODATA
_tcp.x9.$zone A NODATA
n.$zone A NODATA
cqaqcai.n.$zone A NOERROR
cqaqcai.n.$zone AAAA NODATA
fibqeaiaaaaaaaaaaaaaaaaaam.n.$zone AAAA NOERROR
aaaaaaa.n.$zone A NXDOMAIN
below.cqaqcai.n.$zone A NXDOMAIN
nosuchname.$zone A NXDOMAIN
x0.$zone A NXDOMAIN
x09.$zone A NXDOMAIN
x10000000000000000.$zone A NXDOMAIN
a.b.c.d.x9.$zone A NXDOMAIN
*.$zone A NXDOMAIN
a[.n.$zone A NXDOMAIN
$long.n.$zone A NXDOMAIN
$last.n.$zone A NXDOMAIN
$last.cqaqcai.n.$zone A NXDOMAIN
cyeayaq.n.$zone A NOERROR
zzz.$zone A NXDOMAIN
END
}

# --- zone files and addresses ----------------------------------------------------------------------------------------

judge_dumps() {
  local zone
  "$seeder" zone --dump --config one.toml "${delegated[@]}" >dump.all 2>dump.err \
    || finding "zone --dump: $(cat dump.err)"
  # One dump holds all zones, each after a comment.
  for zone in $zones; do
    awk -v zone="$zone." '$1 == ";" { mine = $2 == zone } mine' dump.all >"$zone.dump"
    [ "$(grep -c "^$zone\..* A " "$zone.dump")" = 32 ] || finding "the dump of $zone does not have all peers"
    read_by named-checkzone -k fail -m fail -M fail -n fail -r fail -S fail -T warn -W warn -i local \
      "$zone" "$zone.dump"
    read_by nsd-checkzone "$zone" "$zone.dump"
    read_by kzonecheck -o "$zone" "$zone.dump"
    read_by ldns-read-zone "$zone.dump"
  done
}

read_by() { # program, arguments
  "$@" >check.out 2>check.err && [ ! -s check.err ] && ! grep -qiE 'warning|error' check.out \
    || finding "$*: $(cat check.err; grep -iE 'warning|error' check.out | head -n 3)"
}

# A wildcard address has to answer from the address that was asked; dig takes answers from no other.
judge_wildcard_addresses() {
  local address way
  for address in $a4 $b4 $one4 $two4 127.7.7.7 $a6 $b6 $one6 $two6 ::1; do
    for way in +notcp +tcp; do
      dig "@$address" -p 5399 $way +tries=1 +time=5 cold.network SOA 2>&1 | grep -q 'status: NOERROR' \
        || finding "asked at $address, $way: no answer from there"
    done
  done
}

# --- compliance, and what is left ------------------------------------------------------------------------------------

judge_compliance() {
  await_packages
  PYTHONPATH=$lab venv/bin/python -m compliance --servers "$one4" "$two6" --names one two --twin "$two4" \
    --cold "$cold4" --empty "$empty4" || finding "compliance: see above"
}

# What can be asked only when all judges have ended.
afterwards() {
  local name http
  ! grep -iE 'bogus|validation failure' unbound.log >bogus.txt || finding "unbound says bogus: $(head -n 3 bogus.txt)"
  # A crawl that goes away takes nobody's peers away.
  mv crawl.sqlite crawl.gone
  sleep 6
  [ "$(dig "@$one4" seed1.network A +short | wc -l)" = 24 ] || finding "without its store the seeder answers with less"
  for name in one two cold empty; do
    ! grep -E '"level":"ERROR"|panicked' "$name.log" >errors.txt || finding "$name logs: $(head -n 3 errors.txt)"
  done
  for http in 9351 9352 9353 9354; do
    (exec 3<>"/dev/tcp/127.0.0.1/$http") 2>/dev/null || finding "the seeder with port $http has ended"
  done
}
