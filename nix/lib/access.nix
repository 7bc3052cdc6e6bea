# Who may do what on each host of the fleet: profile names from users.json applied to the table of profiles.
{ lib, roles }:
rec {
  # { user = { profile attributes }; } of a host, global admins and the robot included. `profiles` is
  # `settings.users.available_permission_profiles`, which an organisation may extend.
  onHost =
    { users, profiles, robot }:
    host:
    let
      apply =
        user: profile:
        profiles.${profile}
          or (throw "users.json gives ${user} the permission profile ${profile} on host ${host}, which does not exist. There are: ${lib.concatStringsSep ", " (lib.attrNames profiles)}.");
      named = roles.resolve users host;
      everywhere = lib.genAttrs users.globalAdmins (_: "admin") // lib.optionalAttrs (robot != null) { ${robot} = "remoteTunnelWithShell"; };
    in
    lib.mapAttrs apply (everywhere // named);

  # { user = [ host … ]; }: who reaches which hosts through a relay now. Only hosts that have a tunnel and a file, and
  # only profiles that may log in from afar: a "local" profile is for people who stand in front of the machine.
  reach =
    { users, profiles, robot, tunnels, hosts }:
    let
      tunnelled = lib.filter (host: lib.elem host hosts && tunnels.${host}.remote_forward_port > 0) (lib.attrNames tunnels);
      usersOf = host: lib.attrNames (lib.filterAttrs (_: one: one.canTunnel or false) (onHost { inherit users profiles robot; } host));
      pairs = lib.concatMap (host: map (user: { inherit user host; }) (usersOf host)) tunnelled;
    in
    lib.mapAttrs (_: all: map (one: one.host) all) (lib.groupBy (one: one.user) pairs);
}
