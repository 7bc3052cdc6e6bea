# A host that runs Ubuntu or Debian, with system-manager: agent, tunnel, access, secrets and apps. The distribution keeps
# its kernel, its Docker and its accounts; people's accounts come from host data.
{ config, lib, ... }:
let
  cfg = config.settings.users;
  afieldLib = import ../lib { inherit lib; };
  enabled = lib.filterAttrs (_: user: user.enable) cfg.users;
  lines = list: lib.concatMapStrings (line: line + "\n") list;
  keysOf = user: map (key: key.finalKey) user.public_keys;
  # As on NixOS: everyone's keys, or those for the day when the agent is broken.
  inSystem = lib.filterAttrs (_: user: config.afield.access.inSystem user && keysOf user != [ ]) enabled;
  admins = lib.filter (user: lib.elem "wheel" user.extraGroups) (lib.attrValues inSystem);
  keyFile = name: keys: lib.nameValuePair "ssh/authorized_keys.d/${name}" {
    text = lines keys;
    # sshd refuses links into the store for accounts that are not root's.
    mode = "0444";
  };
  # As on NixOS, with the paths of the distribution.
  starts = lib.naturalSort (lib.unique (map (lib.replaceStrings [ "/run/current-system/sw/bin/" ] [ "/usr/bin/" ]) cfg.robot.whitelistCommands));
  known = name: host: "${lib.concatStringsSep "," host.hostNames} ${host.publicKey}";
in
{
  imports = [ ./common.nix ];

  environment.etc =
    lib.mapAttrs' (name: user: keyFile name (keysOf user)) inSystem
    // lib.listToAttrs [ (keyFile "root" (lib.concatMap keysOf admins)) ]
    // {
      "ssh/ssh_known_hosts".text = lines (lib.mapAttrsToList known config.afield.knownHosts);
      # Read before the distribution's own file; the first value of a setting wins.
      "ssh/sshd_config.d/10-afield.conf".text = ''
        AuthorizedKeysFile /var/lib/afield-access/authorized_keys.d/%u /etc/ssh/authorized_keys.d/%u
        TrustedUserCAKeys /var/lib/afield-access/user_ca.pub
        AuthorizedPrincipalsFile /var/lib/afield-access/authorized_principals.d/%u
        PasswordAuthentication no
        KbdInteractiveAuthentication no
        PermitRootLogin prohibit-password
        AllowTcpForwarding no
        AllowGroups root sudo wheel ${cfg.ssh-group}
        ClientAliveInterval 10
        ClientAliveCountMax 5
        ${afieldLib.sshdMatch { inherit (cfg) rev-tunnel-group fwd-tunnel-group; users = enabled; }}
        Match all
      '';
      # Rules of everybody else are host data; which units there are to start is known here.
      "sudoers.d/afield-robot" = lib.mkIf cfg.robot.enable {
        text = lines (map (command: "${cfg.robot.username} ALL=(root) NOPASSWD: ${command}") starts);
      };
      # Accounts and groups that units and sshd need, also before the first host data.
      "sysusers.d/afield.conf".text = ''
        g private-key-access -
        g ${cfg.ssh-group} -
        g ${cfg.fwd-tunnel-group} -
        g ${cfg.rev-tunnel-group} -
        g ${cfg.shell-user-group} -
        u tunnel - "Tunnels to the relays" ${config.settings.system.private_key_directory} /usr/sbin/nologin
        m tunnel private-key-access
      '';
    };

  systemd.services.afield-accounts = {
    description = "Accounts that Afield's units run as";
    wantedBy = [ "multi-user.target" ];
    before = [ "afield-private-key.service" ];
    requiredBy = [ "afield-private-key.service" ];
    unitConfig.DefaultDependencies = "no";
    restartTriggers = [ config.environment.etc."sysusers.d/afield.conf".source ];
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      ExecStart = "/usr/bin/systemd-sysusers /etc/sysusers.d/afield.conf";
    };
  };

  # sshd reads its settings when it starts, and the distribution's is not started by us.
  systemd.services.afield-sshd = {
    description = "The SSH server knows its present settings";
    wantedBy = [ "multi-user.target" ];
    after = [ "ssh.service" ];
    restartTriggers = [ config.environment.etc."ssh/sshd_config.d/10-afield.conf".source ];
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      # Settings that sshd refuses fail the release, and not the next login.
      ExecStartPre = [ "/usr/bin/mkdir -p /run/sshd" "/usr/sbin/sshd -t" ];
      ExecStart = "/usr/bin/systemctl try-reload-or-restart ssh.service";
    };
  };
}
