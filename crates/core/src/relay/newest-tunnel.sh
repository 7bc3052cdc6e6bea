#!/bin/sh
# PAM runs this on a relay, as root, when somebody has logged in: a host that comes again has left its older connection
# for dead, which would hold the host's ports until it has been silent for long enough. It is ended here, before the
# new connection asks for the ports. Only a proven key counts, and only the ports that stand beside it.
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin
set -u -f
[ "${PAM_USER:-}" = tunnel ] && [ "${PAM_TYPE:-}" = open_session ] || exit 0
set -- ${SSH_AUTH_INFO_0:-}
[ "${1:-}" = publickey ] && [ -n "${3:-}" ] || exit 0
user=$(id -u tunnel) || exit 0
for keys in /var/lib/afield-access/authorized_keys.d/tunnel /etc/ssh/authorized_keys.d/tunnel; do
  for port in $(grep -sF -- " $2 $3 " "$keys" | grep -o 'permitlisten="[0-9]*"' | tr -dc '0-9\n'); do
    [ -n "$(ss -Hltn "sport = :$port")" ] || continue
    for pid in $(ss -Hltnp "sport = :$port" | grep -o 'pid=[0-9]*' | tr -dc '0-9\n' | sort -u); do
      # Only a connection of this account; whatever else listens there is none of ours.
      grep -qs "^Uid:[[:space:]]*$user[[:space:]]" "/proc/$pid/status" && kill -KILL "$pid"
    done
  done
done
exit 0
