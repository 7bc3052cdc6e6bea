# Everything for a NixOS host. One concern a file.
{
  imports = [
    # What hosts of every kind have.
    ./common.nix

    ./accounts.nix
    ./boot.nix
    ./boot-check.nix
    ./crypto.nix
    ./disko.nix
    ./docker.nix
    ./file-systems.nix
    ./guard.nix
    ./hardware.nix
    ./hosting.nix
    ./lan.nix
    ./live-system.nix
    ./lock.nix
    ./network.nix
    ./relay.nix
    ./shutdown.nix
    ./sshd.nix
    ./stick.nix
    ./sudo.nix
    ./swap.nix
    ./system.nix
    ./tidy.nix
    ./traefik.nix
    ./tunnel-account.nix
    ./zabbix.nix
  ];
}
