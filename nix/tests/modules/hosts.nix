# Hosts that the golden fleet does not have: each option of a platform or a place, as a host file would set it.
{ lib, golden, testing }:
let
  folder = testing.afieldLib.folder.load (golden + "/inputs/org-config");
  base = {
    time.timeZone = "UTC";
    settings.network.host_name = "vm-prod";
  };
  config = settings: (testing.evaluate { inherit folder; name = "vm-prod"; file = { imports = [ base ]; inherit settings; }; modules = testing.orgModules; }).config;
  plain = extra: { hardwarePlatform = "none"; boot.mode = "none"; } // extra;
  # Everything that a build would look at, and what it refuses.
  failed =
    config:
    builtins.deepSeq [ config.users config.systemd config.boot config.networking config.services.openssh config.fileSystems config.virtualisation ] (
      map (one: one.message) (lib.filter (one: !one.assertion) config.assertions)
    );
  fine = settings: case (failed (config settings)) [ ];
  case = actual: expected: { inherit actual expected; };
  platforms = lib.genAttrs (lib.attrNames (config (plain { })).settings.hardwarePlatforms) (name: fine { hardwarePlatform = name; boot.mode = "uefi"; });
  old = config { hardwarePlatform = "laptop"; boot.mode = "legacy"; system.isMbr = true; };
  traefik = config (plain {
    docker.enable = true;
    services.traefik = {
      enable = true;
      tls_entrypoints.hl7 = { enable = true; host = "127.0.0.1"; port = 2575; };
      acme.dnsProvider = "azure";
    };
  });
  static = config {
    hetzner = { enable = true; static_ip = true; };
    boot.mode = "legacy";
    network.static_ifaces.ens3 = { address = "192.0.2.5"; prefix_length = 24; gateway = "192.0.2.1"; };
  };
in
lib.mapAttrs' (name: lib.nameValuePair "platform-${name}") platforms
// {
  hetzner = fine { hetzner = { enable = true; static_ip = true; }; boot.mode = "legacy"; };
  without-dhcp = case {
    inherit (static.networking) useDHCP defaultGateway;
    addresses = static.networking.interfaces.ens3.ipv4.addresses;
  } {
    useDHCP = false;
    defaultGateway = { address = "192.0.2.1"; interface = "ens3"; };
    addresses = [ { address = "192.0.2.5"; prefixLength = 24; } ];
  };
  virtualbox = fine { virtualbox.enable = true; boot.mode = "legacy"; };
  synology = fine { syno_vm.enable = true; boot.mode = "uefi"; };
  from-a-stick = fine { live_system.enable = true; };
  fail2ban = fine (plain { fail2ban.enable = true; });
  fail2ban-alone = case (config (plain { fail2ban.enable = true; })).services.sshguard.enable false;
  lock-page = fine (plain { services.server-lock.enable = true; });
  more-disks = fine (plain { crypto.mounts.img = { enable = true; device = "/dev/x"; mount_point = "/data"; device_units = [ "iscsi.service" ]; }; });
  secrets-and-configs-for-groups = fine (plain { system.secrets.allow_groups = [ "app" ]; system.secrets.old_dest_directories = [ "/opt/.secrets" ]; system.opt.allow_groups = [ "app" ]; });
  old-installation = case (failed old) [ ];
  old-installation-has-no-layout = case old.disko.devices { };
  old-installation-finds-its-root = case old.fileSystems."/".device "/dev/disk/by-label/nixos_root";
  traefik = case (failed traefik) [ ];
  traefik-more-ports = case (lib.elem "127.0.0.1:2575:2575/tcp" traefik.virtualisation.oci-containers.containers.nixos-traefik.ports) true;
  # Both disko's layout and an old partition table: one of them is a mistake.
  mbr-with-layout = case (lib.length (failed (config (plain { system.isMbr = true; disko.enableDefaultConfig = true; })))) 1;
  relay-that-no-host-knows = case (lib.length (failed (config (plain { reverse_tunnel.relay.enable = true; })))) 1;
  disks-without-secrets = case (lib.length (failed (config (plain { system.secrets.enable = false; crypto.encrypted_opt.enable = true; })))) 1;
}
