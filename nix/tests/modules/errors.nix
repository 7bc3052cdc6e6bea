# Golden error cases that older modules accept, or answer with a failed assertion. Those that end the evaluation are
# in ./refusals.nix.
{ lib, golden, testing }:
let
  inherit (import ./error-cases.nix { inherit lib golden testing; }) cases configOf usersOf;
  assertionCases = lib.filterAttrs (_: one: one.evaluates or "" == "assertions") cases;
  accepted = evaluates: lib.filterAttrs (_: one: one.evaluates or "" == evaluates && one.ok) cases;
  case = actual: expected: { inherit actual expected; };
in
{
  # Afield words its messages anew, so that they name the remedy: what counts is that each is told, and no other.
  errors-assertions = lib.mapAttrs (
    _: one:
    case {
      failed = lib.length (lib.filter (one: !one.assertion) (configOf one).assertions);
      warnings = lib.length (configOf one).warnings;
    } (lib.mapAttrs (_: lib.length) one.value)
  ) assertionCases;
  errors-users = lib.mapAttrs (_: one: case (usersOf one) one.value) (accepted "users");
  errors-keys = lib.mapAttrs (
    _: one:
    case (lib.mapAttrs (_: user: map (key: key.finalKey) user.public_keys) (
      lib.filterAttrs (_: user: user.enable) (configOf one).settings.users.users
    )) (one.value // { robot = [ ]; })
  ) (accepted "keys");
  errors-tunnels = lib.mapAttrs (
    _: one: case (lib.mapAttrs (_: tunnel: removeAttrs tunnel [ "generate_configs" ]) (configOf one).settings.reverse_tunnel.tunnels) one.value
  ) (accepted "tunnels");
  errors-hosts = lib.mapAttrs (_: one: case (configOf one).settings.network.host_name one.value) (accepted "host");
  errors-mounts = lib.mapAttrs (
    _: one:
    case (map (mount: lib.getAttrs (lib.attrNames (lib.head one.value)) mount) (configOf one).systemd.mounts) one.value
  ) (accepted "mounts");
}
