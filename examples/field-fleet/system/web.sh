#!@shell@
# Serves the page in the foreground and says what became of it. The server's own process id is in /run/web.pid;
# this shell stays its parent, so that a server that ended is gone and not a zombie.
PATH=@tools@/bin
say() { echo "$(date -u +%H:%M:%S) web: $1"; }

say "starting at @listen@"
httpd -f -p @listen@ -h @page@ &
pid=$!
echo $pid > /run/web.pid
wait $pid
say "httpd ended with status $?"
# A number that is nobody's any more must not be killed later.
[ "$(cat /run/web.pid)" != $pid ] || : > /run/web.pid
