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
      # One host that stands in two does not keep the others from being built.
      wave =
        host:
        if twice ? ${host} then
          throw "${file} has ${host} in two waves: ${lib.concatStringsSep ", " twice.${host}}. Keep it in one."
        else
          lib.head byHost.${host};
    in
    if missing != [ ] then
      throw "${file} has no wave for: ${lib.concatStringsSep ", " missing}. Add each to one of ${lib.concatStringsSep ", " names}."
    else
      lib.genAttrs hosts wave;

  # The wave of one host, or `otherwise` if it is in none.
  find = waves: host: otherwise: lib.findFirst (wave: lib.elem host (waves.${wave} or [ ])) otherwise names;

  # The branch of the fleet's repository that a host follows.
  branchOf = waves: host: if lib.elem host (waves.stagingHosts or [ ]) then "staging" else "main";
}
