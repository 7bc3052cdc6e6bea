# Deliberate differences from the older modules: golden values as Afield has them. Each is a row in docs/migrate.md.
{ lib, config }:
let
  # The lock page runs as a dynamic user and asks the agent, so it needs neither an account nor a sudo rule.
  lockUser = "server-lock-button";

  # A relay lets people pass who may log in to a host behind it, to that host's ports, until they expire.
  # Spelt out for the golden fleet, so that the rule itself is tested and not only repeated.
  hq = [ "2001" "2002" "3001" "3002" "12001" "12002" "52002" ];
  juba = [ "2001" "12001" ];
  everywhere = [ "2001" "2002" "3001" "3002" "5001" "9999" "12001" "12002" "52002" ];
  reach = {
    amara_okafor = everywhere;
    robot = everywhere;
    bruno_dias = hq;
    chen_wei = hq;
    nurse_lucie = hq;
    # The one is not on vm-uat, the other not on vm-prod; neither where they have a local profile (lap-kabul).
    dr_amal = lib.remove "3001" hq;
    ext_lena = lib.remove "3002" hq;
    tnl_juba = juba;
    zoe_field = juba;
  };
  expiry.ext_lena = [ ''expiry-time="20270331"'' ];
  userOf = line: lib.last (lib.splitString " " line);
  keyTypes = [ "ssh-ed25519 " "sk-ssh-ed25519@openssh.com " "ecdsa-sha2-nistp256 " "ssh-rsa " ];
  # Options stand before the first key type.
  restrict =
    line:
    let
      user = userOf line;
      type = lib.findFirst (type: lib.hasInfix " ${type}" line) (throw "no key in ${line}") keyTypes;
      parts = lib.splitString " ${type}" line;
      own = lib.removePrefix "restrict,port-forwarding" (lib.head parts);
      permits = map (port: ''permitopen="localhost:${port}"'') reach.${user};
      options = lib.concatStringsSep "," ([ "restrict" "port-forwarding" ] ++ permits ++ expiry.${user} or [ ]);
    in
    "${options}${own} ${type}${lib.last parts}";
  tunneller = lines: map restrict (lib.filter (line: reach ? ${userOf line}) lines);

  bootPartition = [ "devices" "disk" "main" "content" "partitions" "nixos_boot" "content" "mountOptions" ];
in
{
  users =
    golden:
    golden
    // {
      groups = removeAttrs golden.groups [ lockUser ];
      users = lib.mapAttrs (
        name: user: if name == "tunneller" then user // { authorized_keys = tunneller user.authorized_keys; } else user
      ) (removeAttrs golden.users [ lockUser ]);
    };

  sudo = golden: golden // { extraRules = lib.filter (rule: rule.users != [ lockUser ]) golden.extraRules; };

  authorizedKeys =
    user: text:
    let
      lines = lib.filter (line: line != "") (lib.splitString "\n" text);
    in
    map (line: line + "\n") (if user == "tunneller" then tunneller lines else lines);

  # Hosts evaluate nothing, so they have no nixpkgs to find, and `system.autoUpgrade` is off: its window is the agent's.
  upgrade = golden: {
    inherit (golden) maintenance;
    nix = { inherit (golden.nix) gc settings; };
  };

  # Whoever counts on the lock page's button learns at build that there is none yet.
  warnings = golden: golden ++ lib.optional config.settings.services.server-lock.enable "no lock page yet";

  host =
    golden:
    removeAttrs golden [
      # disko's own module declares these.
      "fileSystems"
    ]
    // {
      boot = golden.boot // {
        # A relay gives the connection to a dead host up while visitors still come, so that the host gets its ports again.
        kernel.sysctl = golden.boot.kernel.sysctl // lib.optionalAttrs config.settings.reverse_tunnel.relay.enable {
          "net.ipv4.tcp_retries2" = 6;
        };
        # The order of kernel modules has no meaning.
        initrd = golden.boot.initrd // lib.optionalAttrs (golden.boot.initrd ? availableKernelModules) {
          availableKernelModules = lib.sort lib.lessThan golden.boot.initrd.availableKernelModules;
        };
      };
      # Whoever writes boot entries finds /boot mounted.
      disko =
        if lib.hasAttrByPath bootPartition golden.disko then
          lib.updateManyAttrsByPath [ { path = bootPartition; update = options: options ++ [ "x-systemd.automount" ]; } ] golden.disko
        else
          golden.disko;
      # Contents of the mounted files are Afield's own, so their hashes differ.
      oci = if golden.oci == null then null else golden.oci // {
        containers = lib.mapAttrs (_: one: one // {
          volumes = map (volume: lib.concatStrings (map (part: if lib.isList part then "<script>-" else part) (builtins.split "<script>/[0-9a-f]+-" volume))) one.volumes;
        }) golden.oci.containers;
      };
    };
}
