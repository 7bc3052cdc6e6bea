{
  inputs.afield.url = "github:afield/afield";
  inputs.nixpkgs.follows = "afield/nixpkgs";

  outputs = inputs: inputs.afield.lib.mkFleet {
    inherit inputs;
    src = ./org-config;
    # Moving a wave to another nixpkgs is one line: add an input, and name it here.
    packageSets = { firstWave = "nixpkgs"; };
    # Modules of your own, for every host: kiosk, backups, NFS, …
    modules = [ { afield.repositories = [ "https://releases.example.org" ]; } ];
  };
}
