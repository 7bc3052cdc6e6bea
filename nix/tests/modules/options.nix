# Every `settings.*` option of the older modules, with type, default and read-only as existing host files expect it.
{ lib, golden, testing }:
let
  folder = testing.afieldLib.folder.load (golden + "/inputs/org-config");
  evaluated = testing.evaluate { inherit folder; name = "nuc-juba"; modules = testing.orgModules; };

  # These stay the organisation's own modules; see docs/migrate.md.
  organisations = [ "settings.nfs." "settings.services.accessPoint." "settings.services.autoBackup." ];
  inScope = name: lib.hasPrefix "settings." name && !lib.any (prefix: lib.hasPrefix prefix name) organisations;

  # Deliberate differences, each a row in docs/migrate.md.
  differs = {
    # `[ ]` for a set was a slip that failed as soon as it was used.
    "settings.crypto.mounts" = row: row // { default = "{ }"; };
    "settings.system.private_key_source" = row: row;
  };

  words = text: lib.concatStringsSep " " (lib.filter (word: word != "") (lib.splitString " " (lib.replaceStrings [ "\n" ] [ " " ] text)));
  cell = row: n: if n < lib.length row then lib.elemAt row n else "";
  lines = lib.filter (line: line != "") (lib.splitString "\n" (lib.readFile (golden + "/outputs/nix/options.tsv")));
  wanted = lib.listToAttrs (
    map (
      line:
      let
        row = lib.splitString "\t" line;
        name = lib.head row;
        shown = {
          type = cell row 1;
          readOnly = cell row 2 == "yes";
          default = words (cell row 3);
        };
      in
      lib.nameValuePair name ((differs.${name} or lib.id) shown)
    ) (lib.filter (line: inScope (lib.head (lib.splitString "\t" line))) (lib.tail lines))
  );

  rendered =
    option:
    if option ? default then
      lib.replaceStrings [ (toString (golden + "/inputs/org-config")) ] [ "<repo>/org-config" ] (words option.default.text)
    else
      "(none)";
  docs = lib.optionAttrSetToDocList (removeAttrs evaluated.options [ "_module" ]);
  have = lib.listToAttrs (
    map (
      option:
      lib.nameValuePair option.name {
        inherit (option) type readOnly;
        default = rendered option;
      }
    ) (lib.filter (option: lib.hasPrefix "settings." option.name) docs)
  );
  # The value is computed, so there is no default to show.
  actual = name: if wanted.${name}.default == "(computed)" then have.${name} // { default = "(computed)"; readOnly = false; } else have.${name};
in
lib.mapAttrs (name: expected: {
  inherit expected;
  actual = if have ? ${name} then actual name else "this option does not exist";
}) wanted
