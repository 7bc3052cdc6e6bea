# People as accounts, groups and keys of the system.
{ config, lib, pkgs, ... }:
let
  cfg = config.settings.users;
  enabled = lib.filterAttrs (_: user: user.enable) cfg.users;
  keysOf = user: map (key: key.finalKey) user.public_keys;
  isAdmin = user: lib.elem "wheel" user.extraGroups;

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
  # Made here, with groups and sudo rules; the agent places keys only.
  afield.agent.settings.accounts = "system";

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
}
