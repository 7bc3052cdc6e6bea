# What system-manager makes of a host's configuration, as data: units as text, files of /etc, links that start units, and
# every store file by its contents. A stand-in for its modules and for nixpkgs' systemd-lib, as far as Afield's modules
# need them; what it cannot render is refused. `nix/tests/ubuntu/systems.nix` builds a system from this.
{ lib, pkgs }:
let
  inherit (builtins) fromJSON readFile toFile toJSON unsafeDiscardStringContext;

  # A store file whose contents say what it is to be: { kind = "text" | "script" | "run"; text; }.
  stored = kind: name: text: {
    type = "derivation";
    inherit name;
    outPath = toFile name (toJSON { inherit kind name text; });
  };
  toToml =
    value:
    if builtins.isAttrs value then
      "{ ${lib.concatStringsSep ", " (lib.mapAttrsToList (name: one: "${name} = ${toToml one}") value)} }"
    else if builtins.isList value then
      "[${lib.concatMapStringsSep ", " toToml value}]"
    else
      toJSON value;
  tomlFile = value: lib.concatStrings (lib.mapAttrsToList (name: one: "${name} = ${toToml one}\n") value);

  shown = value: if builtins.isBool value then lib.boolToString value else toString value;
  # More than one line would be another setting.
  line = name: value: assert lib.assertMsg (!lib.hasInfix "\n" (shown value)) "${name} has more than one line"; "${name}=${shown value}\n";
  lines = lib.mapAttrsToList (name: value: lib.concatMapStrings (line name) (lib.toList value));
  words = name: list: lib.optionalString (list != [ ]) (line name (lib.concatStringsSep " " list));

  # What nixpkgs puts into every service's path.
  basic = [ pkgs.coreutils pkgs.findutils pkgs.gnugrep pkgs.gnused pkgs.systemd ];
  pathOf = unit: lib.concatMapStringsSep ":" (folder: lib.makeSearchPath folder (unit.path ++ basic)) [ "bin" "sbin" ];
  scriptOf = name: text: "${stored "script" name "#!${pkgs.bash}/bin/bash -e\n${text}"}";

  unitText =
    name: unit:
    assert unit.preStart == "" && !unit.reloadIfChanged && unit.startAt == [ ];
    lib.concatStrings (
      [ "[Unit]\n" ]
      ++ lib.optional (unit.description != "") (line "Description" unit.description)
      ++ lib.optional (unit.restartTriggers != [ ]) (line "X-Restart-Triggers" (lib.concatMapStringsSep " " toString unit.restartTriggers))
      ++ [
        (words "After" unit.after)
        (words "Before" unit.before)
        (words "Requires" unit.requires)
        (words "Wants" unit.wants)
        (words "BindsTo" unit.bindsTo)
        (words "PartOf" unit.partOf)
        (words "Conflicts" unit.conflicts)
      ]
      ++ lines unit.unitConfig
      ++ [ "\n[Service]\n" ]
      ++ lib.mapAttrsToList (key: value: "Environment=${toJSON "${key}=${toString value}"}\n") (unit.environment // { PATH = pathOf unit; })
      ++ lib.optional (!unit.restartIfChanged) "X-RestartIfChanged=false\n"
      ++ lib.optional (!unit.stopIfChanged) "X-StopIfChanged=false\n"
      ++ lib.optional (unit.script != "") "ExecStart=${scriptOf "${name}-start" unit.script}\n"
      ++ lines unit.serviceConfig
    );

  # Paths of the store that a text names; those of packages have no hash.
  named = text: lib.concatLists (lib.filter builtins.isList (builtins.split "(/nix/store/[0-9a-z]{32}-[-+._?=0-9a-zA-Z]+)" text));
  isPackage = lib.hasPrefix "/nix/store/00000000000000000000000000000000-";
  # With its context, so that it is found in a store elsewhere too.
  contents = path: fromJSON (unsafeDiscardStringContext (readFile (builtins.appendContext path { ${path}.path = true; })));
  closure =
    text:
    map (one: one.key) (builtins.genericClosure {
      startSet = map (key: { inherit key; }) (named (unsafeDiscardStringContext text));
      operator = one: lib.optionals (!isPackage one.key) (map (key: { inherit key; }) (named (contents one.key).text));
    });
in
{
  # The package set, with files that can be read again.
  packages = pkgs // {
    writeText = stored "text";
    writeShellScript = name: text: stored "script" name "#!${pkgs.bash}/bin/bash\n${text}";
    runCommand = name: _: stored "run" name;
    formats.toml = _: pkgs.formats.toml { } // {
      generate = name: value: stored "text" name (tomlFile value);
    };
  };

  describe =
    config:
    let
      services = lib.filterAttrs (_: unit: unit.enable) config.systemd.services;
      fileName = name: "${name}.service";
      # system-manager's own target is what it starts, at a switch and at boot.
      target = name: if name == "multi-user.target" then "system-manager.target" else name;
      started = suffix: names: name: unit: map (by: "${target by}.${suffix}/${fileName name}") (names unit);
      etcFile = name: file: {
        inherit (file) mode;
        source = toString (if file.text != null then stored "text" "etc-${baseNameOf name}" file.text else file.source);
      };
      system = {
        etc = lib.mapAttrs etcFile (lib.filterAttrs (_: file: file.enable) config.environment.etc);
        units = lib.mapAttrs' (name: unit: lib.nameValuePair (fileName name) (unitText name unit)) services // {
          "system-manager.target" = "[Unit]\n";
        };
        starts =
          [ "default.target.wants/system-manager.target" ]
          ++ lib.concatLists (lib.mapAttrsToList (started "wants" (unit: unit.wantedBy)) services)
          ++ lib.concatLists (lib.mapAttrsToList (started "requires" (unit: unit.requiredBy)) services);
      };
      paths = lib.partition isPackage (closure (toJSON system));
    in
    assert config.systemd.tmpfiles.rules == [ ];
    system
    // {
      files = lib.genAttrs paths.wrong contents;
      packages = lib.genAttrs paths.right (path: lib.substring 44 (-1) path);
    };
}
