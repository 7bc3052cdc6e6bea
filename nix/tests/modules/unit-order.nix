# The chain key → secrets → disks → mounts → apps, proved on the units: each link must wait for the one before.
{ lib }:
{
  # Pairs of units that are there and not in order, as text.
  wrong =
    config:
    let
      mountName = mount: "${lib.replaceStrings [ "/" ] [ "-" ] (lib.removePrefix "/" mount.where)}.mount";
      mounts = lib.listToAttrs (map (mount: lib.nameValuePair (mountName mount) mount) config.systemd.mounts);
      services = lib.mapAttrs' (name: lib.nameValuePair "${name}.service") config.systemd.services;
      units = services // mounts;

      waitsFor = name: map (one: { key = one; }) (units.${name}.after or [ ]);
      before = name: map (one: one.key) (lib.genericClosure { startSet = waitsFor name; operator = one: waitsFor one.key; });

      # One that needs the other must also come after it, or it may start too early.
      unordered = lib.concatLists (
        lib.mapAttrsToList (name: unit: map (one: "${name} requires ${one}, without after") (lib.subtractLists unit.after unit.requires)) units
      );
      disks = lib.filter (mount: mount.enable) (lib.attrValues config.settings.crypto.mounts);
      open = mount: "open_encrypted_${mount.name}.service";
      data = mount: mountName { where = mount.mount_point; };
      apps = lib.filter (name: services.${name}.environment ? DEPLOY_DIR) (lib.attrNames services);
      onData = apps ++ lib.optional config.settings.docker.enable "docker.service";

      pair = earlier: later: { inherit earlier later; };
      pairs =
        [ (pair "afield-private-key.service" "afield-secrets.service") ]
        ++ map (mount: pair "afield-secrets.service" (open mount)) disks
        ++ map (mount: pair (open mount) (data mount)) disks
        ++ lib.concatMap (mount: map (pair (data mount)) onData) disks
        ++ map (pair "afield-secrets.service") apps;
      missing = map (one: "${one.later} does not wait for ${one.earlier}") (
        lib.filter (one: !lib.elem one.earlier (before one.later)) pairs
      );
      loops = map (name: "${name} waits for itself") (lib.filter (name: lib.elem name (before name)) (lib.attrNames units));
    in
    unordered ++ missing ++ loops;
}
