#!/bin/sh
# What system-manager's engine does with a system, for one that systems.nix built: files of /etc, then units. It passes
# over files that somebody else put there, and ends with status 0 although a unit did not start, as the real one does.
set -u
system=$(dirname "$(dirname "$(readlink -f "$0")")")
state=/var/lib/system-manager/state
mkdir -p "$state"
touch "$state/made" "$state/units"
cp "$state/made" "$state/made.old"
: >"$state/made.new"

# Whether a file may be put there; lines of .wants and .requires are the system's in any case.
may() {
  if [ -e "/etc/$1" ] || [ -L "/etc/$1" ]; then
    case $1 in systemd/system/*.wants/* | systemd/system/*.requires/*) ;; *)
      if ! grep -qxF "$1" "$state/made.old"; then
        echo "Unmanaged path already exists in filesystem, please remove it and run system-manager again: /etc/$1"
        return 1
      fi
    esac
    rm -f "/etc/$1"
  fi
  mkdir -p "/etc/$(dirname "$1")"
  echo "$1" >>"$state/made.new"
}
while read -r name to; do
  if may "$name"; then ln -s "$to" "/etc/$name"; fi
done <"$system/links"
while read -r name mode from; do
  if may "$name"; then cp "$from" "/etc/$name" && chmod "$mode" "/etc/$name"; fi
done <"$system/copies"
grep -vxFf "$state/made.new" "$state/made.old" | while read -r name; do rm -f "/etc/$name"; done
mv "$state/made.new" "$state/made"

# What is gone is stopped while systemd still knows it.
while read -r name _; do
  grep -q "^$name " "$system/units" || systemctl stop "$name" || echo "Service $name: error stopping, please consult the logs"
done <"$state/units"
systemctl daemon-reload
while read -r name path restart; do
  if [ "$restart" = restart ] && grep -q "^$name " "$state/units" && ! grep -q "^$name $path " "$state/units"; then
    systemctl reload-or-restart "$name" || echo "Service $name: error reloading, please consult the logs"
  fi
done <"$system/units"
systemctl start system-manager.target || echo "Service system-manager.target: error starting, please consult the logs"
cp "$system/units" "$state/units"

files=$(sed 's|.*|"/etc/&"|' "$state/made" | paste -s -d,)
printf '{"version":1,"services":%s,"fileTree":{"files":[%s],"backedUpFiles":[]}}' "$(cat "$system/services/services.json")" "$files" >"$state/new.json"
mv "$state/new.json" "$state/system-manager-state.json"
