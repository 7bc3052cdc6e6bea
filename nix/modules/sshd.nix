# The SSH server: keys only, and forwarding only for those whose work it is.
{ config, lib, ... }:
let
  cfg = config.settings.users;
  afieldLib = import ../lib { inherit lib; };
in
{
  options.settings.sshd.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
  };

  config = lib.mkIf config.settings.sshd.enable {
    services.openssh = {
      enable = true;
      openFirewall = true;
      # Nobody adds keys by hand: the fast layer's keys, and those that live in the system.
      authorizedKeysInHomedir = false;
      # Certificates, where the fleet trusts a CA: an account without a file of principals takes none.
      settings.TrustedUserCAKeys = "/var/lib/afield-access/user_ca.pub";
      settings.AuthorizedPrincipalsFile = "/var/lib/afield-access/authorized_principals.d/%u";
      authorizedKeysFiles = lib.mkForce [ "/var/lib/afield-access/authorized_keys.d/%u" "/etc/ssh/authorized_keys.d/%u" ];
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
      extraConfig = afieldLib.sshdMatch { inherit (cfg) users rev-tunnel-group fwd-tunnel-group; };
    };
  };
}
