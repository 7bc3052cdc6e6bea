# Hardware platforms: what a kernel needs to find its disk on each.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  names = [
    "aws" "azure" "hetzner" "hosted-vm" "laptop" "laptop-elitebook840" "micronuc" "none" "nuc" "synology"
    "thinkserver" "virtualbox" "vmware"
  ];
  platforms = lib.genAttrs names lib.id;
  on = wanted: lib.mkIf (lib.elem config.settings.hardwarePlatform wanted);

  small = [ "ahci" "nvme" "sd_mod" "sdhci_pci" "xhci_pci" ];
  laptop = [ "ahci" "nvme" "rtsx_pci_sdmmc" "sd_mod" "usb_storage" "xhci_pci" ];
  vmware = [ "ahci" "ata_piix" "floppy" "mptspi" "sd_mod" "sr_mod" "vmw_pvscsi" ];
  virtio = [ "ahci" "sd_mod" "sr_mod" "virtio_blk" "virtio_pci" "virtio_scsi" "xhci_pci" ];
in
{
  options.settings = {
    hardwarePlatforms = mkOption {
      type = types.attrsOf types.str;
      default = platforms;
      readOnly = true;
    };
    hardwarePlatform = mkOption { type = types.enum names; };
  };

  config = {
    boot.initrd.availableKernelModules = lib.mkMerge [
      (on [ "nuc" "micronuc" ] small)
      (on [ "laptop" "laptop-elitebook840" ] laptop)
      (on [ "hosted-vm" "vmware" ] vmware)
      (on [ "hetzner" "synology" ] virtio)
      (on [ "thinkserver" ] [ "ahci" "ehci_pci" "megaraid_sas" "sd_mod" "usb_storage" "usbhid" "xhci_pci" ])
      (on [ "virtualbox" ] [ "ahci" "ata_piix" "ohci_pci" "sd_mod" "sr_mod" ])
      (on [ "aws" ] [ "ena" "nvme" "xen_blkfront" ])
      (on [ "azure" ] [ "hv_netvsc" "hv_storvsc" "hv_utils" "hv_vmbus" "sd_mod" ])
    ];
    # Wireless cards and processors of real machines need them; virtual ones do not.
    hardware.enableRedistributableFirmware = on [ "nuc" "micronuc" "laptop" "laptop-elitebook840" "thinkserver" ] (lib.mkDefault true);
    # A laptop with its lid closed is a server.
    services.logind.settings.Login = on [ "laptop" "laptop-elitebook840" ] (
      lib.genAttrs [ "HandleLidSwitch" "HandleLidSwitchExternalPower" "HandleLidSwitchDocked" ] (_: "ignore")
    );
  };
}
