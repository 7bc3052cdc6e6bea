# Each host is in exactly one wave. Relays are in the latest one.
{
  stagingHosts = [ ];
  firstWave = [ "clinic-1" ];
  middleWave = [ ];
  finalWave = [ ];
  latestWave = [ "relay-1" ];
}
