# Copies the private key to memory, for the tunnel (its own file) and for deployments (the same key under another name).
set -eu
umask 077
mkdir -p "$KEY_DIRECTORY"
chown tunnel:tunnel "$KEY_DIRECTORY"
chmod 0755 "$KEY_DIRECTORY"
if [ ! -s "$KEY_SOURCE" ]; then
  echo "there is no private key at $KEY_SOURCE: run the installation again, or copy the key there" >&2
  exit 1
fi
for name in id_tunnel id_github; do
  # A new file and a rename, so that nobody reads half a key.
  install -m 0440 -o root -g "$KEY_GROUP" "$KEY_SOURCE" "$KEY_DIRECTORY/.$name.new"
  mv -f "$KEY_DIRECTORY/.$name.new" "$KEY_DIRECTORY/$name"
done
