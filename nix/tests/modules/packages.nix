# A package set with the names that the modules use. Nothing is built; a name that is not here fails.
{ lib }:
let
  inherit (lib) types;
  package = name: extra: {
    type = "derivation";
    inherit name;
    pname = name;
    outputName = "out";
    outputs = [ "out" ];
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
    drvPath = "/nix/store/00000000000000000000000000000000-${name}.drv";
    meta.mainProgram = name;
  } // extra;
  # Other contents, another path, as in a real store.
  file = name: content: extra: package name (extra // {
    outPath = "/nix/store/${lib.substring 0 32 (builtins.hashString "sha256" (builtins.unsafeDiscardStringContext content))}-${name}";
  });
  # nixpkgs' own type: no null, and priorities count at every depth.
  toml = types.oneOf [ types.bool types.int types.float types.str types.path (types.attrsOf toml) (types.listOf toml) ];
  names = [
    "afield-agent" "bash" "coreutils" "cryptsetup" "curl" "diffutils" "docker" "docker-compose" "findutils" "gawk" "git" "gnugrep" "gnused"
    "htop" "iproute2" "jq" "lm_sensors" "lvm2" "nix" "openssh" "rsync" "systemd" "tmux" "util-linux" "vim" "afield" "afield-hub"
  ];
in
lib.genAttrs names (name: package name { })
// {
  shadow = package "shadow" { shellPath = "/bin/nologin"; };
  # What a file would hold stays readable for the tests.
  writeText = name: text: file name text { inherit text; };
  writeShellScript = name: text: package name { inherit text; };
  runCommand = name: env: script: file name script { inherit script; };
  formats.toml = _: {
    type = toml;
    generate = name: value: package name { inherit value; };
  };
}
