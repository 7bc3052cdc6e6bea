# What ../../modules/agent.nix writes, for the real `afield-agent check-config`.
{ lib, golden, testing }:
let
  folder = testing.afieldLib.folder.load (golden + "/inputs/org-config");
  settings = name: agent: configured name { afield.agent.settings = agent; };
  configured =
    name: extra:
    (testing.evaluate {
      inherit folder name;
      modules = testing.orgModules ++ [
        {
          afield.fleetName = "golden";
          afield.repositories = [ "https://releases.example.org" "file:///media/usb/repository" ];
          afield.hub = "https://hub.example.org";
        }
        extra
      ];
    }).config.afield.agent.settings;
in
{
  right = lib.mapAttrs (name: _: settings name { }) folder.hosts // {
    stick = configured "nuc-juba" { afield.stick.enable = true; };
    lan = configured "nuc-juba" { afield.lan.enable = true; };
    lan-with-settings = configured "nuc-juba" {
      afield.lan.enable = true;
      afield.agent.settings.lan = { port = 9000; keep-mib = 512; keep = "2d"; wait = "10m"; };
    };
    # Over midnight.
    reboot-window = configured "nuc-juba" {
      settings.maintenance.nixos_upgrade.rebootWindow = lib.mapAttrs (_: lib.mkForce) { lower = "22:30"; upper = "04:15"; };
    };
  };
  wrong = {
    misspelt-key = settings "nuc-juba" { intervall = "5m"; };
    lan-misspelt-key = configured "nuc-juba" { afield.lan.enable = true; afield.agent.settings.lan.keep-mb = 512; };
    lan-waits-too-long = configured "nuc-juba" { afield.lan.enable = true; afield.agent.settings.lan.wait = "2h"; };
    no-hour = settings "nuc-juba" { reboot-window = lib.mkForce "25:00-04:00"; };
    no-length-of-time = settings "nuc-juba" { interval = "often"; };
  };
}
