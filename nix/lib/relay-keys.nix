# Lines of authorized_keys on a relay. The format is shared with `afield`: tests compare both with the golden data.
{ lib }:
let
  # Ports of a host on the relays, in the order of its tunnels' names.
  portsOf = tunnel: map (one: 10000 * one.prefix + tunnel.remote_forward_port) (lib.attrValues tunnel.reverse_tunnels);

  # Options of authorized_keys that only ever take rights away (sshd(8)).
  narrowing = [ "cert-authority" "principals" "from" "expiry-time" "restrict" "verify-required" "touch-required" ];
  restricts =
    option:
    let
      name = lib.toLower (lib.head (lib.splitString "=" (lib.head (lib.splitString "\"" option))));
      # One text may hold several options; a comma outside quotes gives it away.
      quoted = builtins.match "[^\"]*(\"[^\"]*\"[^\"]*)*" option != null;
      outside = lib.concatStrings (lib.filter lib.isString (builtins.split "\"[^\"]*\"" option));
    in
    quoted && !lib.hasInfix "," outside && (lib.elem name narrowing || lib.hasPrefix "no-" name);
in
{
  inherit portsOf;

  # For the user `tunnel`: each host may open its own ports on the relay, and nothing else.
  tunnelKeys =
    tunnels:
    let
      open = lib.filter (tunnel: tunnel.public_key != "" && tunnel.remote_forward_port > 0) (lib.attrValues tunnels);
      option = port: ''restrict,port-forwarding,permitlisten="${toString port}"'';
      line = tunnel: "${lib.concatMapStringsSep "," option (portsOf tunnel)} ${tunnel.public_key} tunnel@${tunnel.name}";
    in
    # Natural order, so that 2001 comes before 12001.
    lib.naturalSort (map line open);

  # For the user `tunneller`, as definitions of `settings.reverse_tunnel.relay.tunneller.keys`: each person may pass to
  # the hosts that they may log in to, until they expire. The account is shared, so the expiry must stand on the key.
  tunnellerKeys =
    { tunnels, users, reach }:
    let
      ports = hosts: lib.sort lib.lessThan (lib.concatMap (host: portsOf tunnels.${host}) hosts);
      # sshd refuses a key with more.
      permits = ports: if lib.length ports > 4096 then [ "*" ] else map toString ports;
      permit = hosts: map (port: ''permitopen="localhost:${port}"'') (permits (ports hosts));
      expiry = user: lib.optional (user.expires != null) ''expiry-time="${lib.replaceStrings [ "-" ] [ "" ] user.expires}"'';
      line = user: hosts: key: {
        username = user.name;
        inherit (key) publicKey;
        restrictions = permit hosts ++ expiry user;
        # A person's own options may narrow what is allowed, and not widen it again.
        keyOptions = lib.filter restricts key.keyOptions;
      };
    in
    lib.concatLists (lib.mapAttrsToList (name: hosts: map (line users.${name} hosts) (users.${name}.public_keys or [ ])) reach);
}
