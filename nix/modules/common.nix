# What NixOS hosts and hosts with system-manager have in common: only options that both know are set here.
{
  imports = [
    ./agent.nix
    ./app-configs.nix
    ./apps.nix
    ./folder.nix
    ./maintenance.nix
    ./people.nix
    ./private-key.nix
    ./profiles.nix
    ./robot.nix
    ./secrets.nix
    ./tunnel.nix
    ./tunnels.nix
  ];
}
