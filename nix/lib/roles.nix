# Which permission profile each person has on a host. An outer profile wins; a circle, a missing role or two profiles are refused.
{ lib }:
let
  rolePath = role: "users.roles.${role}";
  show = lib.generators.toPretty { };

  # Everyone found below one entry, as [ { user, profile, via } ]. `path` is the way from the host, innermost last.
  # `override` replaces every profile below it, and an outer one replaces an inner one.
  walk =
    users: host: path: override: entry:
    let
      found = lib.mapAttrsToList (user: profile: {
        inherit user;
        profile = if override == null then profile else override;
        via = lib.concatStringsSep " → " path;
      }) (entry.enable or { });
      into =
        override: role:
        let
          next = path ++ [ (rolePath role) ];
        in
        if lib.elem (rolePath role) path then
          throw "roles of host ${host} go in a circle: ${lib.concatStringsSep " → " next}. Take one of these `enable_roles` out of users.json."
        else
          walk users host next override (
            users.roles.${role}
              or (throw "host ${host} enables the role ${rolePath role} (${lib.concatStringsSep " → " path}), which users.json does not define. Defined are: ${lib.concatStringsSep ", " (lib.attrNames users.roles)}.")
          );
    in
    found
    ++ lib.concatMap (into override) (entry.enable_roles or [ ])
    ++ lib.concatLists (
      lib.mapAttrsToList (role: profile: into (if override == null then profile else override) role) (
        entry.enable_roles_with_profile or { }
      )
    );

  # { user = profile; } for one host. Two different profiles for one person are refused; one profile twice is fine.
  # Global admins are not in it, except those whom the host's own entry names.
  resolve =
    users: host:
    let
      found = walk users host [ "users.per-host.${host}" ] null (users.perHost.${host} or { });
      admins = map (user: {
        inherit user;
        profile = "admin";
        via = "global_admins";
      }) users.globalAdmins;
      byUser = lib.groupBy (one: one.user) found;
      withAdmins = lib.groupBy (one: one.user) (found ++ admins);
      conflicts = lib.filterAttrs (_: all: lib.length (lib.unique (map (one: one.profile) all)) > 1) withAdmins;
      told = lib.mapAttrs (_: all: lib.unique (map (one: "${one.profile} (${one.via})") all)) conflicts;
    in
    if conflicts == { } then
      lib.mapAttrs (_: all: (lib.head all).profile) byUser
    else
      throw "on host ${host} a person has two permission profiles: ${show told}. Keep one for each; `enable_roles_with_profile` sets one for a whole role.";
in
{
  inherit resolve;
}
