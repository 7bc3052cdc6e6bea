# The golden error cases: each changes some files of an empty fleet with one host.
{ lib, golden, testing }:
let
  inherit (testing) afieldLib;
  dir = golden + "/outputs/errors-nix";
  files = lib.filterAttrs (name: _: lib.hasSuffix ".json" name) (builtins.readDir dir);
  cases = lib.mapAttrs' (name: _: lib.nameValuePair (lib.removeSuffix ".json" name) (lib.importJSON (dir + "/${name}"))) files;
  base = golden + "/inputs/org-config";

  # A folder like the golden one, with the case's files over it, written to the store as text.
  folderOf =
    case:
    let
      changed = case.changed_inputs;
      write = name: value: builtins.toFile (baseNameOf name) (if lib.isString value then value else builtins.toJSON value);
      # People, tunnels and hosts of the golden fleet are not in these cases.
      given = name: fallback: if changed ? ${name} then write name changed.${name} else fallback;
      tunnelFiles = lib.filterAttrs (name: _: lib.hasPrefix "json/tunnels.d/" name) changed;
      read = afieldLib.folder;
      golden = read.load base;
    in
    golden
    // {
      users = read.readUsers (given "json/users.json" (base + "/json/users.json"));
      keys = read.readKeys (given "json/keys.json" (builtins.toFile "keys.json" ''{"keys":{}}''));
      relays = read.readRelays (given "json/relay-servers.json" (base + "/json/relay-servers.json"));
      tunnels = lib.foldl' (all: one: all // one) { } (
        lib.mapAttrsToList read.tunnelsIn tunnelFiles
      );
      modules = [ ];
    };
  configOf =
    case:
    (testing.evaluate {
      folder = folderOf case;
      name = case.host;
      file = builtins.toFile "${case.host}.nix" case.changed_inputs."hosts/${case.host}.nix";
      modules = testing.orgModules;
    }).config;
in
{
  inherit cases configOf folderOf;
  usersOf =
    case:
    lib.mapAttrs (_: lib.getAttrs [ "canTunnel" "enable" "expires" "extraGroups" "hasShell" ]) (
      lib.filterAttrs (_: user: user.enable) (configOf case).settings.users.users
    );
}
