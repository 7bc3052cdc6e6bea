# The SSH server: keys only, and forwarding only for those whose work it is.
{ config, lib, ... }:
let
  cfg = config.settings.users;
  forced = lib.filterAttrs (_: user: user.enable && user.forceCommand != null) cfg.users;
  forcedBlock = name: user: ''
    Match User ${name}
      PermitTTY no
      ForceCommand ${lib.replaceStrings [ "\\\n" "\n" ] [ "" "" ] user.forceCommand}
  '';
in
{
  options.settings.sshd.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
  };

  config = lib.mkIf config.settings.sshd.enable {
    services.openssh = {
      enable = true;
      # The firewall is opened below for the ports in use.
      openFirewall = true;
      # Nobody adds keys by hand: the fast layer's keys, and those that live in the system.
      authorizedKeysInHomedir = false;
      authorizedKeysFiles = lib.mkForce [ "/run/afield/access/authorized_keys.d/%u" "/etc/ssh/authorized_keys.d/%u" ];
      settings = {
        PasswordAuthentication = false;
        KbdInteractiveAuthentication = false;
        PermitRootLogin = lib.mkForce "prohibit-password";
        AllowGroups = [ "wheel" cfg.ssh-group ];
        AllowTcpForwarding = false;
        # A dead link is noticed after 50 s, so that the tunnel's port is free again.
        ClientAliveInterval = 10;
        ClientAliveCountMax = 5;
      };
      # The first match wins: wheel before the narrower groups.
      extraConfig = lib.concatStrings (
        lib.mapAttrsToList forcedBlock forced
        ++ [
          ''
            Match Group wheel
              AllowTcpForwarding yes
            Match Group ${cfg.rev-tunnel-group}
              AllowTcpForwarding remote
            Match Group ${cfg.fwd-tunnel-group}
              AllowTcpForwarding local
          ''
        ]
      );
    };
  };
}
