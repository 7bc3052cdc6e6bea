# The Match blocks of sshd: who may forward what, and who gets one command only. The first match wins, so the forced
# commands come first and wheel before the narrower groups.
{ lib }:
{ users, rev-tunnel-group, fwd-tunnel-group }:
let
  forced = lib.filterAttrs (_: user: user.enable && user.forceCommand != null) users;
  oneLine = lib.replaceStrings [ "\\\n" "\n" ] [ "" "" ];
  forcedBlock = name: user: ''
    Match User ${name}
      PermitTTY no
      ForceCommand ${oneLine user.forceCommand}
  '';
in
lib.concatStrings (lib.mapAttrsToList forcedBlock forced)
+ ''
  Match Group wheel
    AllowTcpForwarding yes
  Match Group ${rev-tunnel-group}
    AllowTcpForwarding remote
  Match Group ${fwd-tunnel-group}
    AllowTcpForwarding local
''
