# Afield's programs, static, so that they run on any Linux and a host needs nothing beside them. From Cargo.lock.
{ pkgs }:
let
  inherit (pkgs) lib;
  root = ../.;
  # Only what the programs are made of: a change of a document must not rebuild them.
  src = lib.fileset.toSource {
    inherit root;
    # `install` and `init` carry units and the template with them.
    fileset = lib.fileset.unions [ ../Cargo.toml ../Cargo.lock ../crates ../xtask ../packaging ../templates ];
  };
  program =
    { crate, binary, description }:
    pkgs.pkgsStatic.rustPlatform.buildRustPackage {
      pname = binary;
      version = (lib.importTOML ../Cargo.toml).workspace.package.version;
      inherit src;
      cargoLock.lockFile = ../Cargo.lock;
      cargoBuildFlags = [ "--package" crate ];
      # Tests need the golden data and a real system: `cargo ci` runs them.
      doCheck = false;
      meta = {
        inherit description;
        mainProgram = binary;
        license = [ lib.licenses.mit lib.licenses.asl20 ];
        platforms = lib.platforms.linux;
      };
    };
in
{
  afield-agent = program {
    crate = "afield-agent";
    binary = "afield-agent";
    description = "The daemon that keeps one host at its assigned release";
  };
  afield = program {
    crate = "afield-cli";
    binary = "afield";
    description = "What operators of a fleet type";
  };
  afield-hub = program {
    crate = "afield-hub";
    binary = "afield-hub";
    description = "Status of hosts, rollouts and the dashboard";
  };
}
