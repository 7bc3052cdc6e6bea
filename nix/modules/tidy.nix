# What keeps the disk free, and the settings of Nix that hosts need for switching.
{ config, lib, ... }:
let
  cfg = config.settings.maintenance;
in
{
  nix = {
    gc = {
      automatic = cfg.enable;
      dates = "Wed 03:00";
      options = "--delete-older-than 30d";
    };
    settings = {
      auto-optimise-store = true;
      experimental-features = [ "nix-command" "flakes" ];
      # No list of flakes from the Internet.
      flake-registry = "";
      builders-use-substitutes = true;
      fallback = true;
      trusted-users = [ "root" "@wheel" ];
    };
  };
  virtualisation.docker.autoPrune = lib.mkIf cfg.docker_prune_timer.enable {
    enable = true;
    dates = "Wed 04:00";
    flags = [ "--all" ];
  };
}
