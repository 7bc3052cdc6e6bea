# hosts/ubuntu/vm-prod.nix: a host of the golden fleet, as it would be declared if it ran Debian.
{
  settings = {
    network.host_name = "vm-prod";
    reverse_tunnel.enable = true;
    services.deployment_services.update_dhis2_prod.enable = true;
    system = {
      # Where a host has its key that `afield-agent install` made one of the fleet.
      private_key_source = "/etc/ssh/ssh_host_ed25519_key";
      # In place of GitHub.
      org.repo_to_url = repo: "file:///srv/apps/${repo}";
    };
  };
  afield = {
    fleetName = "golden";
    repositories = [ "http://10.77.1.1:8470/repository" ];
    hub = "http://10.77.1.1:8470";
    # A test has no time.
    agent.settings = { interval = "1s"; heartbeat = "1s"; };
  };
}
