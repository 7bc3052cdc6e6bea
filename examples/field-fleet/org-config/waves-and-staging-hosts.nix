let
  stagingHosts = [ "vm-uat" ];
in
{
  inherit stagingHosts;
  firstWave = stagingHosts ++ [ "clinic-juba" ];
  middleWave = [ "clinic-wau" "hosp-jacmel" ];
  finalWave = [ "hosp-pap" "relay-bru" ];
  latestWave = [ ];
}
