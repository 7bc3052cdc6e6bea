# Reads a fleet folder (`org-config/`). One value for the whole fleet: hosts share it, so that 100 hosts parse
# each file once. The same files are read by `afield`; see docs/migrate.md for what each holds.
{ lib }:
let
  # `_comment` is dropped at any depth, in every JSON file.
  dropComments =
    value:
    if builtins.isAttrs value then
      lib.mapAttrs (_: dropComments) (removeAttrs value [ "_comment" ])
    else if builtins.isList value then
      map dropComments value
    else
      value;

  readJson =
    path:
    if builtins.pathExists path then
      dropComments (lib.importJSON path)
    else
      throw "${toString path} is missing. `afield init` writes an empty one.";

  # Files of a folder by suffix, as { stem = path; }. Folders and other files are none of ours.
  filesBySuffix =
    suffix: dir:
    let
      entries = lib.optionalAttrs (builtins.pathExists dir) (builtins.readDir dir);
      files = lib.filterAttrs (name: type: type != "directory" && lib.hasSuffix suffix name) entries;
    in
    lib.mapAttrs' (name: _: lib.nameValuePair (lib.removeSuffix suffix name) (dir + "/${name}")) files;

  needAttr =
    path: names: value:
    lib.attrByPath names (throw "${toString path}: `${lib.concatStringsSep "." names}` is missing; add it, even if empty ({ }).") value;

  readUsers =
    path:
    let
      json = readJson path;
    in
    {
      globalAdmins = needAttr path [ "global_admins" ] json;
      perHost = json.users.per-host or { };
      roles = json.users.roles or { };
      expires = json.users.expires or { };
    };

  readKeys = path: needAttr path [ "keys" ] (readJson path);

  tunnelsIn = path: needAttr path [ "tunnels" "per-host" ];

  # Every file of tunnels.d, merged. A host in two files is refused: which port it has must not depend on a file's name.
  readTunnels =
    dir:
    let
      files = filesBySuffix ".json" dir;
      hostsOf = path: lib.mapAttrs (_: tunnel: { inherit path tunnel; }) (tunnelsIn path (readJson path));
      add =
        all: path:
        let
          new = hostsOf path;
          twice = lib.attrNames (builtins.intersectAttrs all new);
          host = lib.head twice;
        in
        if twice == [ ] then
          all // new
        else
          throw "host ${host} stands in ${toString all.${host}.path} and in ${toString path}; remove it from one of them.";
    in
    lib.mapAttrs (_: entry: entry.tunnel) (lib.foldl' add { } (lib.attrValues files));

  readRelays =
    path:
    let
      json = readJson path;
    in
    lib.mapAttrs (_: relay: relay // { inherit (json) public_key; }) json.relay_servers;

  load = src: rec {
    inherit src;
    paths = {
      users = src + "/json/users.json";
      keys = src + "/json/keys.json";
      tunnels = src + "/json/tunnels.d";
      relays = src + "/json/relay-servers.json";
      metadata = src + "/json/org-metadata.json";
      zabbix = src + "/json/zabbix-servers.json";
      secrets = src + "/secrets/generated/generated-secrets.yml";
      appConfigs = src + "/app_configs/generated/generated-app-configs.yml";
    };
    users = readUsers paths.users;
    keys = readKeys paths.keys;
    tunnels = readTunnels paths.tunnels;
    relays = readRelays paths.relays;
    metadata = readJson paths.metadata;
    zabbix = readJson paths.zabbix;
    hosts = filesBySuffix ".nix" (src + "/hosts");
    ubuntuHosts = filesBySuffix ".nix" (src + "/hosts/ubuntu");
    # What every host gets: deployment services and whatever else the organisation keeps there.
    modules = lib.filter builtins.pathExists [
      (src + "/default.nix")
      (src + "/deployment_services.nix")
    ];
    # What is new about the fleet stands beside the folder.
    settings =
      let
        file = src + "/../afield.toml";
      in
      lib.optionalAttrs (builtins.pathExists file) (lib.importTOML file);
    waves = import (src + "/waves-and-staging-hosts.nix");
  };
in
{
  inherit
    load
    readUsers
    readKeys
    readTunnels
    readRelays
    tunnelsIn
    ;
}
