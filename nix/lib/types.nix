# Types that several modules share. Descriptions are part of the interface: a test compares them with the older options.
{ lib }:
let
  inherit (lib) types;
  base64 = "[[:lower:][:upper:][:digit:]\\/+]";
  # Type and body of the keys that are accepted; a comment is not: the name beside the key says whose it is.
  patterns = {
    ecdsa-sha2-nistp256 = "^ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY${base64}{108}=$";
    ssh-ed25519 = "^ssh-ed25519 AAAAC3NzaC1lZDI1NTE5${base64}{48}$";
    ssh-ed25519-hw = "^sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t${base64}{58,}={0,2}$";
    ssh-rsa = "^ssh-rsa AAAAB3NzaC1yc2E${base64}{355,}={0,2}$";
  };
  pattern = lib.concatStringsSep "|" (lib.attrValues patterns);
  named = description: type: type // { inherit description; };
in
rec {
  publicKey = named "valid ${lib.concatStringsSep " or " (lib.attrNames patterns)} key, meaning a string matching the pattern ${pattern}" (
    types.strMatching pattern
  );
  publicKeyOrNone = named "empty string or ${publicKey.description}" (types.strMatching "^$|${pattern}");
  keyOption = types.strMatching ''[a-zA-Z=@.,"-]*'';
  hostName = types.strMatching "^[[:upper:][:lower:]][-[:upper:][:lower:][:digit:]]*[[:upper:][:lower:][:digit:]]$";
  date = types.strMatching "[[:digit:]]{4}-[[:digit:]]{2}-[[:digit:]]{2}";

  # A public key with options before it and a name behind it. `front` comes before the key's own options.
  key = front: { config, name, ... }: {
    options = {
      publicKey = lib.mkOption { type = publicKey; };
      keyOptions = lib.mkOption {
        type = types.listOf keyOption;
        default = [ ];
      };
      # Set by the modules alone, so it may hold what `keyOption` refuses.
      restrictions = lib.mkOption {
        type = types.listOf types.str;
        default = [ ];
        internal = true;
      };
      finalKey = lib.mkOption {
        type = types.str;
        readOnly = true;
      };
    };
    config.finalKey = front config;
  };

  # `options key name`, as authorized_keys wants it.
  keyLine =
    options: publicKey: name:
    lib.concatStringsSep " " (lib.optional (options != [ ]) (lib.concatStringsSep "," options) ++ [ publicKey name ]);
}
