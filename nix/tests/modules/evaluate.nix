# One host of a fleet folder, evaluated with the stand-ins.
{ lib }:
let
  afieldLib = import ../../lib { inherit lib; };
  pkgs = import ./packages.nix { inherit lib; };
  standIns = {
    imports = [ ./stand-ins.nix ];
    _module.args = { inherit pkgs; };
    nix.package = pkgs.nix;
    virtualisation.docker.package = pkgs.docker;
  };
  base.imports = [ standIns ../../modules ];
  evaluate =
    { folder, name, file ? folder.hosts.${name}, modules ? [ ] }:
    lib.evalModules {
      modules = [
        base
        file
        {
          afield.folder = folder;
          afield.branch = afieldLib.waves.branchOf folder.waves name;
        }
      ]
      ++ folder.modules
      ++ modules;
    };
in
{
  inherit afieldLib pkgs standIns base evaluate;
  # The organisation's own modules, which existing host files use: see docs/migrate.md.
  orgModules = [ ./org ];
}
