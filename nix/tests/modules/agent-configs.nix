# What ../../modules/agent.nix writes, for the real `afield-agent check-config`.
{ lib, golden, testing }:
let
  folder = testing.afieldLib.folder.load (golden + "/inputs/org-config");
  settings =
    name: extra:
    (testing.evaluate {
      inherit folder name;
      modules = testing.orgModules ++ [
        {
          afield.fleetName = "golden";
          afield.repositories = [ "https://releases.example.org" "file:///media/usb/repository" ];
          afield.hub = "https://hub.example.org";
          afield.agent.settings = extra;
        }
      ];
    }).config.afield.agent.settings;
in
{
  right = lib.mapAttrs (name: _: settings name { }) folder.hosts;
  wrong = {
    misspelt-key = settings "nuc-juba" { intervall = "5m"; };
    no-length-of-time = settings "nuc-juba" { interval = "often"; };
  };
}
