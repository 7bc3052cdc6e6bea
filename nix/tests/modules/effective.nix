# Profiles and rights that each person really has on each host, from the golden tables.
{ lib, golden, folder, testing }:
let
  table = separator: text: map (lib.splitString separator) (lib.filter (line: line != "") (lib.splitString "\n" text));
  profiles = table "," (lib.readFile (golden + "/outputs/nix/effective-profiles.csv"));
  access = table "\t" (lib.readFile (golden + "/outputs/nix/effective-access.tsv"));
  hosts = lib.tail (lib.head profiles);
  resolve = testing.afieldLib.roles.resolve folder.users;
  of = lib.genAttrs hosts (name: (testing.evaluate { inherit folder name; modules = testing.orgModules; }).config);

  profileCell =
    user: host:
    let
      own = (resolve host).${user} or "";
    in
    if user == "robot" then
      "robot"
    else if lib.elem user folder.users.globalAdmins then
      lib.concatStringsSep "+" ([ "globalAdmin" ] ++ lib.optional (own != "") own)
    else
      own;

  accessRow =
    host: user:
    let
      one = of.${host}.users.users.${user};
      setting = of.${host}.settings.users.users.${user};
      text = value: if value == null then "" else toString value;
    in
    [
      host
      user
      (if one.isNormalUser then "normal" else "system")
      (if lib.isString one.shell then lib.last (lib.splitString "/" one.shell) else "nologin")
      (lib.boolToString setting.sshAllowed)
      (lib.boolToString setting.canTunnel)
      (lib.concatStringsSep "," one.extraGroups)
      (toString (lib.length setting.whitelistCommands))
      (lib.optionalString (setting.forceCommand != null) "yes")
      (text setting.expires)
      (toString (lib.length setting.public_keys))
    ];
  rows = lib.tail access;
  people = host: lib.attrNames (lib.filterAttrs (_: user: user.enable) of.${host}.settings.users.users);
in
{
  profiles = {
    expected = lib.tail profiles;
    actual = map (row: [ (lib.head row) ] ++ map (profileCell (lib.head row)) hosts) (lib.tail profiles);
  };
  access = {
    expected = rows;
    actual = lib.concatMap (host: map (accessRow host) (people host)) (lib.unique (map lib.head rows));
  };
}
