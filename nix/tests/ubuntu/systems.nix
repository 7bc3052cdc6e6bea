# The system of vm-prod, built from system.json without nixpkgs: system-manager's contract (bin/activate, etcFiles,
# services) over raw derivations. Where nixpkgs' packages would be, there are Debian's own programs; the agent is the file
# `afield-agent` beside this one.
let
  inherit (builtins)
    attrNames baseNameOf concatMap concatStringsSep elemAt fromJSON isList listToAttrs mapAttrs match readFile replaceStrings
    split toJSON;
  system = fromJSON (readFile ./system.json);
  each = set: f: map (name: f name set.${name}) (attrNames set);

  run = name: env: script: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-euc" script ];
    PATH = "/usr/bin:/bin";
  } // env);

  # The store paths of the evaluation, replaced by those that are built here.
  built = mapAttrs (_: packageOf) system.packages // mapAttrs (_: fileOf) system.files;
  real = text: concatStringsSep "" (map (part: if isList part then "${built.${elemAt part 0}}" else part) (split "(/nix/store/[0-9a-z]{32}-[-+._?=0-9a-zA-Z]+)" text));
  write = name: text: run name { inherit text; } ''printf %s "$text" > $out'';

  agent = builtins.path { path = ./afield-agent; name = "program"; };
  packageOf =
    name:
    if name == "afield-agent" then
      run name { } "mkdir -p $out/bin; cp ${agent} $out/bin/afield-agent; chmod 755 $out/bin/afield-agent"
    else
      run name { } "mkdir $out; ln -s /usr/bin $out/bin; ln -s /usr/sbin $out/sbin";
  fileOf =
    file:
    {
      text = write file.name (real file.text);
      script = run file.name { text = real file.text; } ''printf %s "$text" > $out; chmod 755 $out'';
      run = run file.name { } (real file.text);
    }.${file.kind};

  # /etc. What is copied has a folder of its own, in which it lies at its place.
  isLink = file: file.mode == "symlink";
  linked = concatMap (name: if isLink system.etc.${name} then [ { inherit name; to = real system.etc.${name}.source; } ] else [ ]) (attrNames system.etc);
  copies = concatMap (name: if isLink system.etc.${name} then [ ] else [ { inherit name; inherit (system.etc.${name}) mode; from = copy name; } ]) (attrNames system.etc);
  copy = name: run "etc-copy" { target = name; from = real system.etc.${name}.source; } ''mkdir -p "$(dirname "$out/$target")"; cp "$from" "$out/$target"'';

  unit = name: text: "${run "unit-${replaceStrings [ "@" ] [ "-" ] name}" { target = name; text = real text; } ''mkdir $out; printf %s "$text" > "$out/$target"''}/${name}";
  units = mapAttrs unit system.units;
  links =
    linked
    ++ each units (name: to: { name = "systemd/system/${name}"; inherit to; })
    ++ map (start: { name = "systemd/system/${start}"; to = units.${baseNameOf start}; }) system.starts;

  # A line for each link and each copy, as activate.sh reads them.
  listed = lines: concatStringsSep "" (map (line: line + "\n") lines);
  linkLines = listed (map (one: "${one.name} ${one.to}") links);
  static = run "etc-static" { list = linkLines; } ''
    printf %s "$list" | while read -r name to; do
      mkdir -p "$(dirname "$out/$name")"
      ln -s "$to" "$out/$name"
    done
  '';
  services = mapAttrs (_: storePath: { inherit storePath; masked = false; }) units;
  entry = source: mode: target: { inherit source mode target; uid = 0; gid = 0; user = "+0"; group = "+0"; replaceExisting = false; };
  entries = listToAttrs (
    map (one: { inherit (one) name; value = entry static "symlink" one.name; }) linked
    ++ map (one: { inherit (one) name; value = entry one.from one.mode one.name; }) copies
  );
  restarted = name: match ".*\nX-RestartIfChanged=false\n.*" system.units.${name} == null;
in
{
  vm-prod = run "system-manager" {
    links = linkLines;
    copies = listed (map (one: "${one.name} ${one.mode} ${one.from}/${one.name}") copies);
    units = listed (each units (name: path: "${name} ${path} ${if restarted name then "restart" else "keep"}"));
    services = toJSON services;
    etcFiles = toJSON { inherit entries; staticEnv = static; };
    activate = readFile ./activate.sh;
  } ''
    mkdir -p $out/bin $out/services $out/etcFiles
    printf %s "$links" > $out/links
    printf %s "$copies" > $out/copies
    printf %s "$units" > $out/units
    printf %s "$services" > $out/services/services.json
    printf %s "$etcFiles" > $out/etcFiles/etcFiles.json
    printf %s "$activate" > $out/bin/activate
    chmod 755 $out/bin/activate
  '';
}
