#!/usr/bin/env bash
# Kills a node 50 times while it syncs and flushes. After each kill the files must be whole, and what an earlier check
# saw on disk must still be there. Needs the release build, jq, and neither root nor the internet.
set -euo pipefail
cd "$(dirname "$0")/.."

kills=50
blocks=2500 # About 50 MB: half a second of sync or some.
seed=${SEED:-$RANDOM}
bin=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
peers=

fail() { printf 'kill_sync (SEED=%s): %s\n' "$seed" "$*" >&2; exit 1; }
finish() {
  # The peers end with their standard input.
  exec 9>&- || true
  [ -z "$peers" ] || wait "$peers" || true
  rm -rf "$work"
}
trap finish EXIT

RANDOM=$seed
"$bin/labs" chain generate --blocks "$blocks" --out "$work/source" >/dev/null 2>&1
"$bin/labs" worker sync local "$work/source" "$work/served" "$blocks" >/dev/null
mkfifo "$work/input" "$work/output"
"$bin/labs" worker sync peers "$work/served" <"$work/input" >"$work/output" &
peers=$!
exec 9>"$work/input"
read -r told <"$work/output"
addresses=$(jq -r '.good | join(",")' <<<"$told")

# How long a sync takes on this machine now, in milliseconds. Kills fall into all of it and a quarter more: with a fixed
# range, a slow machine would never come to the end of a sync, and a fast one be done before most kills.
from=$(date +%s%3N)
"$bin/labs" worker sync fresh --peers="$addresses" "$work/whole/chain" "$blocks" >/dev/null
range=$((($(date +%s%3N) - from) * 5 / 4))
rm -rf "$work/whole"

kill_count=0 round=0 seen=0 finished=0
while ((kill_count < kills)); do
  dir=$work/node$round
  mkdir -p "$dir"
  "$bin/labs" worker sync fresh --peers="$addresses" "$dir/chain" "$blocks" >/dev/null 2>"$work/errors" &
  node=$!
  moment=$((RANDOM % range + 20))
  sleep "$((moment / 1000)).$(printf '%03d' $((moment % 1000)))" # The moment of the kill: nothing waits for it.
  kill -9 "$node" 2>/dev/null || true
  wait "$node" 2>/dev/null && ended=0 || ended=$?
  case $ended in
    0) ;; # It was done before.
    137) kill_count=$((kill_count + 1)) ;;
    *) fail "the node failed: $(tail -3 "$work/errors")" ;;
  esac
  # Killed before it had made its files.
  [ -e "$dir/chain/chain.state" ] || continue
  report=$("$bin/quantumcoin-node" chain check --network devnet --data-dir "$dir" --json 2>"$work/errors") ||
    fail "after kill $kill_count: $(tail -5 "$work/errors")"
  height=$(jq -r .height <<<"$report")
  ((height >= seen)) || fail "block $seen was on disk, and $height is the last after kill $kill_count"
  seen=$height
  if ((height >= blocks)); then
    finished=$((finished + 1)) round=$((round + 1)) seen=0
    rm -rf "$dir"
  fi
done
((finished > 0)) || fail "no sync came to its end in between"
printf 'kill_sync: %s kills within %s ms, every check clean, %s syncs finished in between (SEED=%s)\n' "$kills" "$range" "$finished" "$seed"
