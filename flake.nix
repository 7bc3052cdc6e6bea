{
  description = "Afield runs Linux servers far afield: built centrally, delivered over the worst links, always reachable";

  inputs = {
    # The first release whose Rust is new enough for Afield's programs (rust-version in Cargo.toml).
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    # The disk layout of NixOS hosts.
    disko.url = "github:nix-community/disko";
    disko.inputs.nixpkgs.follows = "nixpkgs";
    # Hosts that run Ubuntu or Debian.
    system-manager.url = "github:numtide/system-manager";
    system-manager.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    { self, nixpkgs, disko, system-manager }:
    let
      inherit (nixpkgs) lib;
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = f: lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      afieldLib = import ./nix/lib { inherit lib; };
      modulesIn = dir: lib.mapAttrs' (file: _: lib.nameValuePair (lib.removeSuffix ".nix" file) (dir + "/${file}")) (builtins.readDir dir);
      # Every host gets Afield's programs from the package set of its wave.
      withPackages = module: {
        imports = [ module ];
        nixpkgs.overlays = [ self.overlays.default ];
      };
    in
    {
      lib = afieldLib // {
        mkFleet =
          args:
          afieldLib.mkFleet {
            # The package set is made by mkFleet, with the overlay in it.
            afieldModules.imports = [ ./nix/modules disko.nixosModules.disko ];
            systemManagerModules = ./nix/modules/ubuntu.nix;
          } (args // {
            # A fleet need not name Afield's own inputs again.
            inputs = { inherit nixpkgs system-manager; } // args.inputs or { };
            overlays = [ self.overlays.default ] ++ args.overlays or [ ];
          });
      };

      nixosModules = removeAttrs (modulesIn ./nix/modules) [ "ubuntu" ] // {
        default = withPackages { imports = [ ./nix/modules disko.nixosModules.disko ]; };
      };
      systemManagerModules.default = withPackages ./nix/modules/ubuntu.nix;

      # Static programs need nothing of the package set that they stand in: built once, for the waves of every nixpkgs.
      overlays.default = final: _: removeAttrs self.packages.${final.stdenv.hostPlatform.system} [ "default" ];
      packages = each (pkgs: import ./nix/packages.nix { inherit pkgs; } // { default = self.packages.${pkgs.stdenv.hostPlatform.system}.afield; });

      checks = each (pkgs: import ./nix/tests { inherit pkgs self; });
      devShells = each (pkgs: {
        default = pkgs.mkShell {
          packages = [ pkgs.cargo pkgs.clippy pkgs.rustc pkgs.rustfmt pkgs.nix ];
          # For `cargo nix-tests`.
          NIXPKGS_LIB = "${nixpkgs}/lib";
        };
      });
      formatter = each (pkgs: pkgs.nixfmt-tree);
      templates.default = {
        path = ./templates/fleet;
        description = "A fleet of two hosts";
      };
    };
}
