# Waves and branches.
{ lib, golden, testing }:
let
  inherit (testing.afieldLib) waves folder;
  fleet = folder.load (golden + "/inputs/org-config");
  hosts = lib.attrNames fleet.hosts;
  case = actual: expected: { inherit actual expected; };
in
{
  each-host-has-one = case (waves.waveOf fleet.waves hosts) {
    vm-uat = "firstWave";
    prov-new = "firstWave";
    nuc-pap = "middleWave";
    lap-kabul = "middleWave";
    nuc-juba = "finalWave";
    vm-prod = "finalWave";
    relay-bru = "latestWave";
    relay-fra = "latestWave";
  };
  staging-hosts-follow-their-branch = case (lib.genAttrs [ "vm-uat" "vm-prod" ] (waves.branchOf fleet.waves)) {
    vm-uat = "staging";
    vm-prod = "main";
  };
  # The host itself is refused (./refusals.nix).
  one-host-in-two-waves-keeps-nobody-else-back = case (waves.waveOf (fleet.waves // { middleWave = [ "vm-prod" ] ++ fleet.waves.middleWave; }) hosts).nuc-juba "finalWave";
}
