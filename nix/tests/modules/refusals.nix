# What must not evaluate, and words that its message must have: what is wrong, and what to do.
{ lib, golden, testing }:
let
  inherit (import ./error-cases.nix { inherit lib golden testing; }) cases configOf usersOf;
  inherit (testing.afieldLib) waves;
  hosts = lib.attrNames (testing.afieldLib.folder.load (golden + "/inputs/org-config")).hosts;
  waveOf = one: (waves.waveOf (import (builtins.toFile "waves.nix" one.waves_file)) hosts).${one.hostname};
  users = usersOf;
  keys = one: (configOf one).settings.users.users;
  tunnels = one: (configOf one).settings.reverse_tunnel.tunnels;
  hostName = one: (configOf one).settings.network.host_name;

  # Case → how it is evaluated, and the words.
  wanted = {
    profile-duplicate = [ users "ann" "two permission profiles" "enable_roles_with_profile" ];
    with-profile-and-role = [ users "ann" "two permission profiles" ];
    global-admin-other-profile = [ users "ann" "global_admins" "two permission profiles" ];
    cycle-self = [ users "circle" "users.roles.a" "users.json" ];
    role-missing-host = [ users "users.roles.ghost" "h1" "r1, r2" ];
    role-missing-with-profile = [ users "users.roles.ghost" "h1" "r1" ];
    global-admins-missing = [ users "global_admins" "missing" "add it" ];
    key-bad = [ keys "settings.users.users.ann.public_keys" "keys.json" ];
    key-unknown-attr = [ users "settings.users.users.ann.public_key" "does not exist" "public_keys" ];
    tun-port-1 = [ tunnels "tunnels.h1.remote_forward_port" "tunnels.d" "between 2000 and 9999" ];
    tun-port-1999 = [ tunnels "tunnels.h1.remote_forward_port" "tunnels.d" "between 2000 and 9999" ];
    tun-no-per-host = [ tunnels "tunnels.per-host" "missing" "add it" ];
    tun-host-name-type = [ tunnels "9bad" ];
    hostname-adotb = [ hostName "settings.network.host_name" "a.b" ];
    host-bad-platform = [ (one: (configOf one).settings.hardwarePlatform) "toaster" "hosted-vm" ];
    option-unknown = [ (one: (configOf one).settings.network) "settings.revers_tunnel" "does not exist" "settings.reverse_tunnel" ];
    mount-keyfile-readonly = [ (one: (configOf one).systemd.services.open_encrypted_img.environment) "settings.crypto.mounts.img.key_file" "read-only" ];
    wave-duplicate-own = [ waveOf "vm-prod" "two waves" "middleWave, finalWave" ];
    wave-missing-host = [ waveOf "lap-kabul" "no wave" "firstWave" ];
  };
  # The stand-ins are as strict as NixOS: a wrong name or type of one of its options fails.
  folder = testing.afieldLib.folder.load (golden + "/inputs/org-config");
  withModule = module: (testing.evaluate { inherit folder; name = "vm-prod"; modules = testing.orgModules ++ [ module ]; }).config.users.users;
  strict = {
    stand-in-wrong-name = {
      value = withModule { services.opensshd.enable = true; };
      says = [ "services.opensshd" "does not exist" ];
    };
    stand-in-wrong-type = {
      value = withModule { users.users.root.extraGroups = "wheel"; };
      says = [ "users.users.root.extraGroups" "list of string" ];
    };
  };

  refused = lib.attrNames (lib.filterAttrs (_: one: !one.ok) cases);
  # Cases of other golden data: refused, whatever the words are.
  evaluations = {
    inherit users keys tunnels;
    host = hostName;
    plat = one: (configOf one).settings.hardwarePlatform;
    svc = one: (configOf one).systemd.services;
    wave = waveOf;
  };
  unknown = lib.genAttrs (lib.subtractLists (lib.attrNames wanted) refused) (name: [ evaluations.${cases.${name}.evaluates or "wave"} ]);
in
lib.mapAttrs (name: want: {
  value = (lib.head want) cases.${name};
  says = lib.tail want;
}) (unknown // lib.filterAttrs (name: _: lib.elem name refused) wanted)
// strict
