# Rules of role resolution that the golden fleet does not touch.
{ lib, testing, ... }:
let
  resolve = perHost: roles: testing.afieldLib.roles.resolve { globalAdmins = [ ]; inherit roles perHost; expires = { }; } "h";
  case = actual: expected: { inherit actual expected; };
in
{
  absent-host-has-nobody = case (resolve { } { r.enable.ann = "admin"; }) { };
  diamond = case (resolve { h.enable_roles = [ "a" "b" ]; } {
    a.enable_roles = [ "c" ];
    b.enable_roles = [ "c" ];
    c.enable.ann = "devops";
  }) { ann = "devops"; };
  # The given profile replaces every one below it, and so settles their conflict.
  with-profile-settles-conflicts = case (resolve { h.enable_roles_with_profile.a = "localShell"; } {
    a.enable_roles = [ "b" "c" ];
    b.enable.ann = "admin";
    c.enable.ann = "devops";
  }) { ann = "localShell"; };
  outer-profile-wins = case (resolve { h.enable_roles_with_profile.a = "docker_logs"; } {
    a.enable_roles_with_profile.b = "admin";
    b.enable.ann = "devops";
  }) { ann = "docker_logs"; };
  circle-that-nobody-uses = case (resolve { h.enable.ann = "admin"; } { a.enable_roles = [ "a" ]; }) { ann = "admin"; };
}
