# Holds one relay's tunnel: tries each address and port in turn, for ever, backing off to a minute at most.
# RELAY_ADDRESSES, RELAY_PORTS, FORWARDS (port:localhost:port …), CONNECT_TIMEOUT in seconds, IDENTITY.
set -u
listen=()
for forward in $FORWARDS; do listen+=(-R "$forward"); done

# A key that others may read is refused by ssh, and the shared copy is readable for a group: take an own copy.
key=$(mktemp)
trap 'rm -f "$key"' EXIT
cat "$IDENTITY" >"$key" || exit 1

wait=1
while true; do
  for address in $RELAY_ADDRESSES; do
    for port in $RELAY_PORTS; do
      began=$SECONDS
      # Host keys are declared, never learned. Without the forwards the connection is worth nothing.
      ssh -N -T -i "$key" -p "$port" \
        -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes -o UpdateHostKeys=no \
        -o UserKnownHostsFile=none -o ExitOnForwardFailure=yes -o "ConnectTimeout=$CONNECT_TIMEOUT" \
        -o ServerAliveInterval=10 -o ServerAliveCountMax=5 \
        "${listen[@]}" "tunnel@$address"
      # It held for a while, so the relay is fine: begin at once again.
      if [ $((SECONDS - began)) -gt 60 ]; then wait=1; fi
    done
  done
  sleep "$wait"
  wait=$((wait * 2 > 60 ? 60 : wait * 2))
done
