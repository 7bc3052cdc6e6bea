# nix/scripts/tunnel.sh with a stand-in for ssh that writes down how it was called.
set -eu
work=$(mktemp -d)
trap 'kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
pid=
mkdir "$work/bin"
# The fifth try holds, until it is ended.
cat >"$work/bin/ssh" <<EOF
#!/bin/sh
echo "\$*" >>$work/calls
[ \$(wc -l <$work/calls) -lt 5 ] || { echo up >$work/up; exec sleep 1000; }
EOF
chmod +x "$work/bin/ssh"
echo key >"$work/key"
mkfifo "$work/up"
export PATH=$work/bin:$PATH TMPDIR=$work RELAY_ADDRESSES="relay.example.org 192.0.2.1" RELAY_PORTS="22 443"
export FORWARDS="2001:localhost:22 12001:localhost:10050" CONNECT_TIMEOUT=30 IDENTITY=$work/key
setsid bash "$SCRIPTS/tunnel.sh" >"$work/log" 2>&1 &
pid=-$!
read -r _ <"$work/up"
where() { sed -E 's/.*-p ([0-9]+) .* tunnel@(.*)/\2:\1/' "$work/calls" | tr '\n' ' '; }
check() { if eval "$2"; then echo "pass $1"; else echo "FAIL $1: $(tr '\n' '|' <"$work/calls")"; fi; }
check each-address-and-port-in-turn '[ "$(where)" = "relay.example.org:22 relay.example.org:443 192.0.2.1:22 192.0.2.1:443 relay.example.org:22 " ]'
check all-forwards '! grep -qv -- "-R 2001:localhost:22 -R 12001:localhost:10050 tunnel@" "$work/calls"'
check host-keys-are-never-learned '! grep -qv -- "StrictHostKeyChecking=yes .*UserKnownHostsFile=none" "$work/calls"'
kill -- "$pid"
