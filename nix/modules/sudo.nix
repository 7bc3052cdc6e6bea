# What may be done as root: everything for wheel, the listed commands for the others, without a password in both cases,
# since nobody has one.
{ config, lib, ... }:
let
  users = lib.filterAttrs (_: user: user.enable && user.whitelistCommands != [ ]) config.settings.users.users;
  allow = command: {
    inherit command;
    options = [ "SETENV" "NOPASSWD" ];
  };
  rule = name: user: {
    users = [ name ];
    runAs = "root";
    # The last match wins: first nothing, then the list.
    commands = map allow ([ "!ALL" ] ++ lib.sort lib.lessThan (lib.unique user.whitelistCommands));
  };
in
{
  security.sudo = {
    enable = true;
    wheelNeedsPassword = false;
    extraRules = lib.mapAttrsToList rule users;
  };
}
