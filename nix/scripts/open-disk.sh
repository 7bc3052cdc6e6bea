# Opens one LUKS device. DEVICE, MAPPER, KEY_FILE. If KEY_FILE.old is there too, the key is being replaced.
set -eu
if [ -e "/dev/mapper/$MAPPER" ]; then
  exit 0
fi
vgchange --activate y >/dev/null || true
if [ ! -e "$DEVICE" ]; then
  echo "$DEVICE does not exist. Look at the disk (lsblk), then start this unit again." >&2
  exit 1
fi

opens() { cryptsetup open --test-passphrase --key-file "$1" "$DEVICE" 2>/dev/null; }

# Replacing: enrol the new key, prove it, and only then remove the old one.
if [ -s "$KEY_FILE.old" ] && [ -s "$KEY_FILE" ] && opens "$KEY_FILE.old"; then
  opens "$KEY_FILE" || cryptsetup luksAddKey --key-file "$KEY_FILE.old" "$DEVICE" "$KEY_FILE"
  opens "$KEY_FILE" || { echo "the new key was added to $DEVICE and does not open it; the old one is kept" >&2; exit 1; }
  cmp -s "$KEY_FILE" "$KEY_FILE.old" || cryptsetup luksRemoveKey "$DEVICE" "$KEY_FILE.old"
fi

if [ ! -s "$KEY_FILE" ]; then
  echo "there is no key at $KEY_FILE, so $DEVICE stays locked. Release this host's secrets with its encryption key." >&2
  exit 1
fi
cryptsetup open --type luks2 --key-file "$KEY_FILE" "$DEVICE" "$MAPPER"
