# Promise: a system that does not boot is left, without anyone on site.
# Not run here: needs nixpkgs' test driver.
{ lib, afield }:
{
  name = "failed-boot";
  nodes.clinic = afield.clinic ({ pkgs, ... }: {
    settings.boot.mode = lib.mkForce "uefi";
    virtualisation.useBootLoader = true;
    virtualisation.useEFIBoot = true;
    # Where the test driver mounts it.
    boot.loader.efi.efiSysMountPoint = lib.mkForce "/boot";
    specialisation.broken.configuration = {
      # Stops before the root file system is there, as a missing driver does.
      boot.initrd.systemd.services.broken = {
        requiredBy = [ "initrd-root-fs.target" ];
        before = [ "initrd-root-fs.target" ];
        unitConfig.DefaultDependencies = false;
        serviceConfig.Type = "oneshot";
        script = "exit 1";
      };
    };
  });

  testScript = ''
    import json

    clinic.start(allow_reboot=True)
    clinic.wait_for_unit("multi-user.target")
    good = clinic.succeed("readlink -f /run/current-system").strip()

    # The next boot only: what does not come up is not the default.
    clinic.succeed("/run/current-system/specialisation/broken/bin/switch-to-configuration boot")
    entries = json.loads(clinic.succeed("bootctl list --json=short"))
    entry = next(one["id"] for one in entries if "broken" in one["id"])
    clinic.succeed(f'bootctl set-default "" && bootctl set-oneshot {entry}')
    clinic.reboot()
    # A panic reboots after ten seconds (kernel.panic), into the last good system.
    clinic.wait_for_unit("multi-user.target")
    assert clinic.succeed("readlink -f /run/current-system").strip() == good
  '';
}
