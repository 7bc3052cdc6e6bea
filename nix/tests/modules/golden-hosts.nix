# Each golden host against what the older modules resolved. Where Afield differs on purpose, the difference is made
# here, by name, and listed in docs/migrate.md.
{ lib, golden, testing }:
let
  folder = testing.afieldLib.folder.load (golden + "/inputs/org-config");
  outputs = golden + "/outputs/nix";
  known = lib.attrNames (lib.filterAttrs (_: type: type == "directory") (builtins.readDir outputs));
  normal = import ./normalise.nix { inherit lib; };
  order = import ./unit-order.nix { inherit lib; };

  compare =
    name:
    let
      inherit (testing.evaluate { inherit folder name; modules = testing.orgModules; }) config;
      read = file: lib.importJSON (outputs + "/${name}/${file}.json");
      keyFiles = builtins.readDir (outputs + "/${name}/authorized_keys.d");
      differs = import ./differences.nix { inherit lib config; };
      case = actual: expected: { inherit actual expected; };
    in
    {
      settings-users = case (normal.settingsUsers config) (read "settings-users");
      users = case (normal.users config) (differs.users (read "users"));
      sudo-rules = case (normal.sudo config) (differs.sudo (read "sudo-rules"));
      tunnels = case (normal.tunnels config) (read "tunnels");
      upgrade = case (normal.upgrade config) (differs.upgrade (read "upgrade"));
      assertions = case (normal.complaints config) {
        failed = 0;
        warnings = lib.length (differs.warnings (read "assertions-warnings").warnings);
      };
      unit-order = case (order.wrong config) [ ];
    }
    // lib.mapAttrs' (part: case: lib.nameValuePair "host-${part}" case) (
      lib.mapAttrs (part: expected: case (normal.host config).${part} expected) (differs.host (read "host"))
    )
    // lib.mapAttrs' (
      user: _:
      lib.nameValuePair "authorized-keys-${user}" (
        case (map (line: line + "\n") config.users.users.${user}.openssh.authorizedKeys.keys) (
          differs.authorizedKeys user (lib.readFile (outputs + "/${name}/authorized_keys.d/${user}"))
        )
      )
    ) keyFiles;

  profiles = import ./effective.nix { inherit lib golden folder testing; };
in
lib.mapAttrs' (name: lib.nameValuePair "golden-${name}") (lib.genAttrs known compare)
// {
  effective = profiles;
}
