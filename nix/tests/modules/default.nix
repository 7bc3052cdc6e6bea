# Module tests. `groups.<name>.<case>` is { expected, actual }; `refusals.<name>` is { value, says }: evaluating the value
# must fail, with each of these words in the message. `cargo nix-tests` runs all of it; see xtask/src/nix_tests.rs.
{ nixpkgsLib, shared }:
let
  lib = import nixpkgsLib;
  golden = shared + "/golden";
  testing = import ./evaluate.nix { inherit lib; };
  args = { inherit lib golden testing; };

  # A case that throws is a failed case, not the end of the run.
  guarded =
    case:
    let
      result = builtins.tryEval (builtins.deepSeq case.actual (case.actual == case.expected));
    in
    if !result.success then
      {
        ok = false;
        why = "the evaluation throws; run it alone to see the message";
      }
    else
      { ok = result.value; } // lib.optionalAttrs (!result.value) { inherit (case) expected actual; };
  refusals = import ./refusals.nix args;
  groups = import ./golden-hosts.nix args // import ./errors.nix args // {
    options = import ./options.nix args;
    roles = import ./roles.nix args;
    waves = import ./waves.nix args;
    hosts = import ./hosts.nix args;
    template = import ./template.nix args;
    vm-tests = import ./vm-tests.nix args;
    ubuntu = import ./ubuntu.nix args;
    fleet = import ./fleet.nix args;
    access-layers = import ./access-layers.nix args;
  };
in
{
  names = lib.attrNames groups;
  groups = lib.mapAttrs (_: lib.mapAttrs (_: guarded)) groups;
  # For a person who looks into one case.
  raw = groups;
  # agent.toml of each golden host, for the agent itself to check; and one with a wrong value, which it must refuse.
  agentConfigs = import ./agent-configs.nix args;
  # For the comparison with what `afield` resolves.
  waves = import (golden + "/inputs/org-config/waves-and-staging-hosts.nix");
  resolved = import ./resolved.nix args;
  # Python, which the test driver would run.
  vmScripts = import ./vm-scripts.nix { inherit lib; };
  # What the files of `nix/tests/ubuntu` must say.
  ubuntuSystems = import ./ubuntu-system.nix args;
  inherit refusals;
  refusalWords = lib.mapAttrs (_: one: one.says) refusals;
}
