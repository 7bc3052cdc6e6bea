# One host of a fleet folder, evaluated with the stand-ins.
{ lib }:
let
  afieldLib = import ../../lib { inherit lib; };
  pkgs = import ./packages.nix { inherit lib; };
  base = {
    imports = [ ./stand-ins.nix ../../modules ];
    _module.args = { inherit pkgs; };
    nix.package = pkgs.nix;
    virtualisation.docker.package = pkgs.docker;
  };
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
  inherit afieldLib pkgs base evaluate;
  # The organisation's own modules, which existing host files use: see docs/migrate.md.
  orgModules = [ ./org ];
}
