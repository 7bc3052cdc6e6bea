# What the system of each golden host says about people, tunnels and relays, in the shape of `afield_core::host_plan`,
# so that the fast layer and the system can be compared: both come from one folder and must agree.
{ lib, golden, testing }:
let
  folder = testing.afieldLib.folder.load (golden + "/inputs/org-config");
  inherit (folder.users) globalAdmins;

  host =
    name:
    let
      inherit (testing.evaluate { inherit folder name; modules = testing.orgModules; }) config;
      cfg = config.settings.reverse_tunnel;
      named = testing.afieldLib.roles.resolve folder.users name;
      profileOf = user: if user == "robot" then "robot" else if lib.elem user globalAdmins then "admin" else named.${user};
      enabled = lib.filterAttrs (_: user: user.enable) config.settings.users.users;
      key = key: { key = key.publicKey; } // lib.optionalAttrs (key.keyOptions != [ ]) { options = key.keyOptions; };
      own = cfg.tunnels.${name};
    in
    {
      host = name;
      kind = "nixos";
      inherit (config.afield) branch;
      access = lib.mapAttrs (
        user: one:
        {
          profile = profileOf user;
          keys = map key one.public_keys;
        }
        // lib.optionalAttrs (one.expires != null) { inherit (one) expires; }
      ) enabled;
      tunnel =
        if own.remote_forward_port == 0 then
          null
        else
          {
            key = if own.public_key == "" then null else own.public_key;
            port = own.remote_forward_port;
            connect_timeout = own.connectTimeout;
            tunnels = lib.mapAttrs (_: one: {
              relay_port = 10000 * one.prefix + own.remote_forward_port;
              local_port = one.forwarded_port;
            }) own.reverse_tunnels;
          };
      relays = lib.mapAttrs (_: relay: { inherit (relay) addresses ports public_key; }) cfg.relay_servers;
      relay_keys =
        if cfg.relay.enable then
          lib.genAttrs [ "tunnel" "tunneller" ] (user: config.users.users.${user}.openssh.authorizedKeys.keys)
        else
          null;
    };
in
lib.genAttrs (lib.attrNames folder.hosts) host
