# Guessing is slowed down, but never for headquarters: a typo there must not lock the operators out.
{ config, lib, ... }:
let
  fail2ban = config.settings.fail2ban.enable;
  # One of them: two would block each other's rules.
  sshguard = config.settings.sshguard.enable && !fail2ban;
in
{
  options.settings = {
    sshguard.enable = lib.mkOption {
      type = lib.types.bool;
      default = true;
    };
    fail2ban.enable = lib.mkEnableOption "fail2ban";
  };

  config = {
    services.sshguard = lib.mkIf sshguard {
      enable = true;
      whitelist = config.settings.org.static_ips.hq_ips;
    };
    services.fail2ban = lib.mkIf fail2ban {
      enable = true;
      ignoreIP = config.settings.org.static_ips.hq_ips;
    };
  };
}
