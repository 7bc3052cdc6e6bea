# Options of people's access. See ./people.nix.
{ config, lib, ... }:
let
  inherit (lib) mkOption mkEnableOption types;
  afieldTypes = (import ../lib { inherit lib; }).types;
  fixed = value: mkOption {
    type = types.str;
    default = value;
    readOnly = true;
  };

  keyOf = username: types.submodule (afieldTypes.key (key: afieldTypes.keyLine (key.keyOptions ++ key.restrictions) key.publicKey username));

  user = { name, ... }: {
    options = {
      enable = mkEnableOption "the account";
      name = mkOption { type = types.str; };
      sshAllowed = mkEnableOption "login with SSH";
      canTunnel = mkEnableOption "forwarding of ports";
      hasShell = mkEnableOption "a shell";
      extraGroups = mkOption {
        type = types.listOf types.str;
        default = [ ];
      };
      # Commands that sudo allows without a password.
      whitelistCommands = mkOption {
        type = types.listOf types.str;
        default = [ ];
      };
      forceCommand = mkOption {
        type = types.nullOr types.str;
        default = null;
      };
      expires = mkOption {
        type = types.nullOr afieldTypes.date;
        default = null;
        description = "First day on which the account is disabled.";
      };
      public_keys = mkOption {
        type = types.listOf (types.coercedTo afieldTypes.publicKey (publicKey: { inherit publicKey; }) (keyOf name));
        default = [ ];
      };
    };
    config = { inherit name; };
  };
in
{
  options = {
    settings.users = {
      users = mkOption {
        type = types.attrsOf (types.submodule user);
        default = { };
      };
      ssh-group = fixed "ssh-users";
      fwd-tunnel-group = fixed "ssh-fwd-tun-users";
      rev-tunnel-group = fixed "ssh-rev-tun-users";
      shell-user-group = fixed "shell-users";
    };
    afield.access = {
      keysFrom = mkOption {
        type = types.enum [ "system" "host-data" ];
        default = "system";
        description = ''
          Where people's keys are. `system`: in the system, so that a key is revoked by the next system.
          `host-data`: in the fast layer, so that it is revoked at the next check-in; the system then keeps only the
          break-glass keys, with which a host can be saved whose agent is broken.
        '';
      };
      breakGlass = mkOption {
        type = types.listOf types.str;
        default = config.afield.fleet.users.globalAdmins;
        defaultText = lib.literalExpression "global_admins of users.json";
        description = "Users whose keys stay in the system in any case.";
      };
      inSystem = mkOption {
        type = types.functionTo types.bool;
        readOnly = true;
        internal = true;
        default = user: config.afield.access.keysFrom == "system" || lib.elem user.name config.afield.access.breakGlass;
      };
    };
  };

  config.assertions = [
    {
      assertion = config.afield.access.keysFrom == "system" || config.afield.access.breakGlass != [ ];
      message = "afield.access.keysFrom is \"host-data\" and nobody has a break-glass key. Name someone in afield.access.breakGlass, or a broken agent locks everyone out.";
    }
  ];
}
