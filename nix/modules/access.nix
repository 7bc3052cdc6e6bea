# Who may log in: people from the fleet folder as accounts, groups and keys.
{ config, lib, pkgs, ... }:
let
  afieldLib = import ../lib { inherit lib; };
  cfg = config.settings.users;
  inherit (config.afield) fleet;
  host = config.settings.network.host_name;
  enabled = lib.filterAttrs (_: user: user.enable) cfg.users;
  keysOf = user: map (key: key.finalKey) user.public_keys;
  isAdmin = user: lib.elem "wheel" user.extraGroups;

  profileOf =
    user: profile:
    cfg.available_permission_profiles.${profile}
      or (throw "users.json gives ${user} the permission profile ${profile} on host ${host}, which does not exist there. There are: ${lib.concatStringsSep ", " (lib.attrNames cfg.available_permission_profiles)}.");

  # Hosts whose key also serves as a key of some user (backups from host to host).
  copies = lib.concatMap (tunnel: map (user: { ${user}.public_keys = [ tunnel.public_key ]; }) tunnel.copy_key_to_users) (
    lib.attrValues config.settings.reverse_tunnel.tunnels
  );

  account =
    name: user:
    {
      group = name;
      isNormalUser = user.hasShell;
      isSystemUser = !user.hasShell;
      # A forced command runs in the user's shell.
      shell = if user.hasShell || user.forceCommand != null then "/run/current-system/sw/bin/bash" else pkgs.shadow;
      extraGroups =
        user.extraGroups
        ++ lib.optional (user.sshAllowed || user.canTunnel) cfg.ssh-group
        ++ lib.optional user.canTunnel cfg.fwd-tunnel-group
        ++ lib.optionals user.hasShell [ cfg.shell-user-group "users" ];
      openssh.authorizedKeys.keys = lib.optionals (config.afield.access.inSystem user) (keysOf user);
    }
    // lib.optionalAttrs (user.expires != null) { inherit (user) expires; };
in
{
  imports = [ ./access-options.nix ];

  config = {
    # Lists of later definitions come first, so a person's own keys stand before those of hosts.
    settings.users.users = lib.mkMerge (
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

    users = {
      # What is not declared is not there: accounts made by hand would survive the person's leaving.
      mutableUsers = false;
      users = lib.mapAttrs account enabled // {
        root = {
          hashedPassword = "!";
          openssh.authorizedKeys.keys = lib.concatMap keysOf (
            lib.filter (user: isAdmin user && config.afield.access.inSystem user) (lib.attrValues enabled)
          );
        };
      };
      groups = lib.mapAttrs (_: _: { }) enabled // {
        ${cfg.ssh-group}.members = [ "root" ];
        ${cfg.fwd-tunnel-group} = { };
        ${cfg.rev-tunnel-group} = { };
        ${cfg.shell-user-group} = { };
      };
    };
  };
}
