# What an organisation keeps as its own modules, reduced to the options that golden hosts set: backups, NFS, access
# points. It shows that such modules live beside Afield's, and use its options.
{
  imports = [
    ./access-point.nix
    ./auto-backup.nix
    ./nfs.nix
  ];
}
