# Waves: which group a host is upgraded in, and so which nixpkgs it is built with.
{ lib }:
let
  names = [ "firstWave" "middleWave" "finalWave" "latestWave" ];
  file = "waves-and-staging-hosts.nix";
in
{
  inherit names;

  # { host = wave; } for every host that has a file.
  waveOf =
    waves: hosts:
    let
      listed = lib.concatMap (wave: map (host: { inherit host wave; }) (waves.${wave} or [ ])) names;
      byHost = lib.mapAttrs (_: all: lib.unique (map (one: one.wave) all)) (lib.groupBy (one: one.host) listed);
      twice = lib.filterAttrs (_: found: lib.length found > 1) byHost;
      missing = lib.subtractLists (lib.attrNames byHost) hosts;
      told = lib.mapAttrsToList (host: found: "${host} (${lib.concatStringsSep ", " found})") twice;
    in
    if twice != { } then
      throw "${file} has hosts in two waves: ${lib.concatStringsSep ", " told}. Keep each in one."
    else if missing != [ ] then
      throw "${file} has no wave for: ${lib.concatStringsSep ", " missing}. Add each to one of ${lib.concatStringsSep ", " names}."
    else
      lib.genAttrs hosts (host: lib.head byHost.${host});

  # The wave of one host, or `otherwise` if it is in none.
  find = waves: host: otherwise: lib.findFirst (wave: lib.elem host (waves.${wave} or [ ])) otherwise names;

  # The branch of the fleet's repository that a host follows.
  branchOf = waves: host: if lib.elem host (waves.stagingHosts or [ ]) then "staging" else "main";
}
