#!/usr/bin/env bash
# An implementation of the transport of its own, in Python from docs/transport.md, against the test
# vectors and against the release node: as the dialling side and as the dialled one.
set -euo pipefail
cd "$(dirname "$0")/../.."

node=${CARGO_TARGET_DIR:-target}/release/quantumcoin-node
lab=labs/interop
dir=$(mktemp -d)
export PYTHONDONTWRITEBYTECODE=1
pids=()

stop() {
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  pids=()
}
cleanup() {
  local code=$?
  stop
  [ "$code" -eq 0 ] || [ ! -f "$dir/node.log" ] || tail -n 5 "$dir/node.log" >&2
  rm -rf "$dir"
}
trap cleanup EXIT

say() { printf -- '-- %s\n' "$*"; }
fail() { printf 'interop: %s\n' "$*" >&2; exit 1; }

# until_true WHAT COMMAND...: tries the command until it succeeds, for 30 s.
until_true() {
  local what=$1 deadline=$((SECONDS + 30))
  shift
  until "$@" 2>/dev/null; do
    [ "$SECONDS" -lt "$deadline" ] || fail "$what has not come about in 30 s"
    sleep 0.1
  done
}
connects() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }

# start_node ARGUMENTS...: starts the node with the same data and waits until it listens.
start_node() {
  "$node" run --network devnet --data-dir "$dir/data" --listen "127.0.0.1:$p2p" \
    --http "127.0.0.1:$http" "$@" >>"$dir/node.log" 2>&1 &
  pids+=("$!")
  until_true "a node that listens" connects "$p2p"
}

# dialled ARGUMENTS...: has a node that is started now dial live.py.
dialled() {
  local listener
  : >"$dir/listen.out"
  "$python" "$lab/live.py" listen 127.0.0.1 "$ours" "${net[@]}" "$@" >"$dir/listen.out" &
  listener=$!
  pids+=("$listener")
  until_true "a listening live.py" grep -q listening "$dir/listen.out"
  start_node --connect "127.0.0.1:$ours"
  wait "$listener" || fail "the node as the dialling side"
  stop
  grep -v listening "$dir/listen.out"
}

[ -x "$node" ] || fail "no release node at $node"

say "the packages, by hash"
python3 -m venv "$dir/venv"
python=$dir/venv/bin/python
"$python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
  -r "$lab/requirements.txt"

say "the vectors, computed anew"
"$python" "$lab/vectors.py" check docs/vectors/transport-v1.json

read -r p2p http ours < <("$python" - <<'EOF'
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(one.getsockname()[1] for one in held))
EOF
)
"$node" spec --network devnet >"$dir/spec.toml"
magic=$(sed -n 's/^magic_bytes = \[\(.*\)\]$/\1/p' "$dir/spec.toml" | sed 's/0x//g; s/[ ,]//g')
genesis=$(sed -n '/^\[genesis\]/,$ s/^hash = "\(.*\)"$/\1/p' "$dir/spec.toml")
net=(--network devnet --magic "$magic")

say "the node is dialled"
start_node
"$python" "$lab/live.py" dial 127.0.0.1 "$p2p" "${net[@]}" --block "$genesis"
stop

say "the node dials an address for the first time"
dialled --identity one --expect XXhfs

say "the node dials the same again, after a restart"
dialled --identity one --expect XKhfs

say "the node dials the same address, where another node lives now"
dialled --identity two --changed --expect XXhfs

echo "interop: all agrees"
