{
  inputs.afield.url = "github:afield/afield";
  inputs.nixpkgs.follows = "afield/nixpkgs";

  outputs = inputs: inputs.afield.lib.mkFleet {
    inherit inputs;
    src = ./org-config;
    # Moving a wave to another nixpkgs is one line: add an input, and name it here.
    packageSets = { firstWave = "nixpkgs"; };
    # Modules of your own, for hosts that run NixOS: kiosk, backups, NFS, …
    modules = [ ];
  };
}
