# Who may log in, resolved from the fleet folder: people, their rights and their keys, as `settings.users.users`.
{ config, lib, ... }:
let
  afieldLib = import ../lib { inherit lib; };
  cfg = config.settings.users;
  inherit (config.afield) fleet;
  host = config.settings.network.host_name;

  profileOf =
    user: profile:
    cfg.available_permission_profiles.${profile}
      or (throw "users.json gives ${user} the permission profile ${profile} on host ${host}, which does not exist there. There are: ${lib.concatStringsSep ", " (lib.attrNames cfg.available_permission_profiles)}.");

  # Hosts whose key also serves as a key of some user (backups from host to host).
  copies = lib.concatMap (tunnel: map (user: { ${user}.public_keys = [ tunnel.public_key ]; }) tunnel.copy_key_to_users) (
    lib.filter (tunnel: tunnel.public_key != "") (lib.attrValues config.settings.reverse_tunnel.tunnels)
  );
in
{
  imports = [ ./people-options.nix ];

  # Lists of later definitions come first, so a person's own keys stand before those of hosts.
  config.settings.users.users = lib.mkMerge (
    copies
    ++ [
      (afieldLib.inFile fleet.files.keys fleet.keys)
      (lib.mapAttrs profileOf (afieldLib.roles.resolve fleet.users host))
      (lib.genAttrs fleet.users.globalAdmins (user: profileOf user "admin"))
      # Global admins do not expire: somebody must be able to let the others in again.
      (afieldLib.inFile fleet.files.users (
        lib.mapAttrs (_: expires: { inherit expires; }) (removeAttrs fleet.users.expires fleet.users.globalAdmins)
      ))
    ]
  );
}
