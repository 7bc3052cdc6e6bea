# A package set with the names that the modules use. Nothing is built; a name that is not here fails.
{ lib }:
let
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
  names = [
    "afield-agent" "bash" "coreutils" "cryptsetup" "curl" "diffutils" "docker" "docker-compose" "gawk" "git" "gnugrep"
    "htop" "iproute2" "jq" "lm_sensors" "lvm2" "nix" "openssh" "rsync" "tmux" "vim" "afield" "afield-hub"
  ];
in
lib.genAttrs names (name: package name { })
// {
  shadow = package "shadow" { shellPath = "/bin/nologin"; };
  # What a file would hold stays readable for the tests.
  writeText = name: text: package name { inherit text; };
  writeShellScript = name: text: package name { inherit text; };
  runCommand = name: env: script: package name { inherit script; };
  formats.toml = _: {
    type = lib.types.attrsOf lib.types.anything;
    generate = name: value: package name { inherit value; };
  };
}
