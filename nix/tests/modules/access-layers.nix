# Keys in the system, or in the fast layer with break-glass keys in the system.
{ lib, golden, testing }:
let
  folder = testing.afieldLib.folder.load (golden + "/inputs/org-config");
  config = extra: (testing.evaluate { inherit folder; name = "nuc-juba"; modules = testing.orgModules ++ [ extra ]; }).config;
  fast = config { afield.access.keysFrom = "host-data"; };
  withKeys = config: lib.attrNames (lib.filterAttrs (_: user: user.openssh.authorizedKeys.keys != [ ]) config.users.users);
  nobody = config {
    afield.access.keysFrom = "host-data";
    afield.access.breakGlass = [ ];
  };
  case = actual: expected: { inherit actual expected; };
in
{
  break-glass-keys-stay = case (withKeys fast) [ "amara_okafor" "root" ];
  root-has-them-too = case (map (line: lib.last (lib.splitString " " line)) fast.users.users.root.openssh.authorizedKeys.keys) [ "amara_okafor" "amara_okafor" ];
  accounts-stay = case (lib.attrNames fast.users.users) (lib.attrNames (config { }).users.users);
  nobody-with-a-key-is-refused = case (lib.length (lib.filter (one: !one.assertion) nobody.assertions)) 1;
  sshd-reads-both = case fast.services.openssh.authorizedKeysFiles [ "/var/lib/afield-access/authorized_keys.d/%u" "/etc/ssh/authorized_keys.d/%u" ];
}
