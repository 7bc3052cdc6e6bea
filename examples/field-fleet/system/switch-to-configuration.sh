#!@shell@
# NixOS's contract in small: makes @host@ run this system. May be repeated at any point: every step ends in the
# same state. Whether the service is well is not for this script to say, but for the fleet's checks.
set -eu
PATH=@tools@/bin

# Replaces a link in one step; a power cut leaves the old one or the new one.
link() {
  rm -f "$2.new"
  ln -s "$1" "$2.new"
  mv -fT "$2.new" "$2"
}

prepare() {
  mkdir -p /dev /etc /run /tmp /var/log
  # The shell gives background jobs /dev/null as input; an empty file will do where nobody may make the device.
  [ -e /dev/null ] || mknod -m 666 /dev/null c 1 3 2>&- || : > /dev/null
}

stop_web() {
  [ -s /run/web.pid ] || return 0
  pid=$(cat /run/web.pid)
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    kill "$pid" 2> /dev/null || return 0
    sleep 0.1
  done
  kill -9 "$pid"
}

# Returns when the next activation can find the server's process id.
start_web() {
  rm -f /run/web.pid
  setsid @service@/bin/web >> /var/log/web.log 2>&1 &
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ ! -f /run/web.pid ] || return 0
    sleep 0.1
  done
}

activate() {
  prepare
  link @system@/etc /etc/static
  for file in hostname settings.json; do
    link "/etc/static/$file" "/etc/$file"
  done
  link @system@ /run/current-system
  stop_web
  start_web
}

boot() {
  mkdir -p /boot
  link @system@ /boot/system
}

case "${1:-}" in
  switch) boot; activate ;;
  test) activate ;;
  boot) boot ;;
  dry-activate) echo "would switch @host@ to @system@ and restart web" ;;
  *) echo "usage: switch-to-configuration switch|boot|test|dry-activate" >&2; exit 2 ;;
esac
