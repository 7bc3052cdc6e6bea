# The fleet of the VM tests: a host, a relay, a person, and one who has left. The keys are throwaway and public.
{ lib, modules }:
let
  keys = lib.genAttrs [ "host" "relay" "person" "leaver" ] (name: {
    private = ./throwaway-keys + "/${name}";
    # Type and body; the third word would be a comment.
    public = lib.concatStringsSep " " (lib.take 2 (lib.splitString " " (lib.removeSuffix "\n" (lib.readFile (./throwaway-keys + "/${name}.pub")))));
  });
  people = {
    person = "admin";
    leaver = "fieldSupport";
  };
in
rec {
  inherit keys;

  # As `lib.folder.load` would read it.
  folder = {
    src = ./throwaway-keys;
    paths = lib.genAttrs [ "users" "keys" "tunnels" "relays" "metadata" "zabbix" ] (name: ./throwaway-keys + "/${name}.json");
    users = {
      globalAdmins = [ ];
      perHost.clinic.enable = people;
      perHost.relay.enable.person = "admin";
      roles = { };
      expires = { };
    };
    keys = lib.genAttrs [ "person" "leaver" ] (name: { public_keys = [ keys.${name}.public ]; });
    tunnels = {
      clinic = {
        remote_forward_port = 2001;
        public_key = keys.host.public;
      };
      relay = {
        remote_forward_port = 0;
        public_key = keys.relay.public;
      };
    };
    relays.relay = {
      addresses = [ "relay" ];
      ports = [ 22 443 ];
      public_key = keys.relay.public;
    };
    metadata = {
      hq_outgoing_ips = [ ];
      env_var_prefix = "TEST";
      github_org = "example";
      config_repo = "fleet";
      acme_email_address = "admin@example.org";
    };
    hosts = {
      clinic = null;
      relay = null;
    };
    ubuntuHosts = { };
    settings.fleet = "test";
  };

  # A node of a test: a host of this fleet, on the virtual machine's own disk and boot loader.
  node = name: extra: {
    imports = [ modules extra ];
    afield.folder = folder;
    time.timeZone = "UTC";
    settings = {
      hardwarePlatform = "none";
      boot.mode = "none";
      network.host_name = name;
      # The test driver makes the disk, and there is no swap file on it.
      disko.enableDefaultConfig = lib.mkDefault false;
      system.diskSwap.enable = false;
      system.secrets.enable = lib.mkDefault false;
    };
    # The installation leaves the key here.
    systemd.tmpfiles.rules = [ "C /var/lib/org-nix/id_tunnel 0400 root root - ${keys.host.private}" ];
  };

  # The relay has one host key, which all hosts know.
  relay = extra: node "relay" {
    imports = [ extra ];
    settings.reverse_tunnel.relay.enable = true;
    environment.etc."ssh/ssh_host_ed25519_key" = {
      source = keys.relay.private;
      mode = "0400";
    };
    services.openssh.hostKeys = [
      {
        path = "/etc/ssh/ssh_host_ed25519_key";
        type = "ed25519";
      }
    ];
  };

  clinic = extra: node "clinic" {
    imports = [ extra ];
    settings.reverse_tunnel.enable = true;
  };
}
