# One attribute a host, each the derivation of its whole system. A real fleet has NixOS here; this one has the
# same contract (bin/switch-to-configuration, etc/, a service) over a static busybox, so that it builds in a
# second on a machine that cannot fetch nixpkgs.
let
  inherit (builtins)
    attrNames concatLists elem filter head listToAttrs match readDir readFile replaceStrings toJSON;

  # Only this one file of the folder gets into the store; its content is what the systems depend on.
  busybox = builtins.path {
    path = /usr/bin;
    name = "busybox";
    filter = path: _: path == "/usr/bin/busybox";
  };

  # A derivation whose builder is a shell script.
  run = name: env: script: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "${busybox}/busybox";
    args = [ "sh" "-euc" script ];
    PATH = "${tools}/bin";
  } // env);

  tools = derivation {
    name = "tools";
    system = builtins.currentSystem;
    builder = "${busybox}/busybox";
    args = [
      "sh" "-euc"
      ''
        ${busybox}/busybox mkdir -p $out/bin
        for tool in awk cat chmod cp date httpd kill ln mkdir mknod mv readlink rm sed setsid sh sleep; do
          ${busybox}/busybox ln -s ${busybox}/busybox $out/bin/$tool
        done
      ''
    ];
  };

  # What every site has a copy of, and no link wants to carry twice: a few MB that never change.
  formulary = run "formulary" { } ''
    mkdir $out
    awk 'BEGIN {
      x = 7; print "code,stock,minimum,price"
      for (i = 1; i <= 120000; i++) {
        x = (x * 16807) % 2147483647; y = (x * 48271) % 2147483647
        printf "MED-%06d,%d,%d,%d.%02d\n", i, x % 5000, y % 400, y % 90, x % 100
      }
    }' > $out/formulary.csv
  '';

  waves = import ./org-config/waves-and-staging-hosts.nix;
  waveOf = host: head (filter (wave: elem host waves.${wave}) [ "firstWave" "middleWave" "finalWave" "latestWave" ] ++ [ "none" ]);

  # The value of a host's file. NixOS's module system would do more; this fleet's files need no more.
  settingsOf = host: import (./org-config/hosts + "/${host}.nix") {
    config.settings.hardwarePlatforms = { nuc = "nuc"; vm = "vm"; };
  };

  html = replaceStrings [ "&" "<" ">" "\n" ] [ "&amp;" "&lt;" "&gt;" "" ];

  systemOf = host:
    let
      declared = settingsOf host;
      site = declared.settings.site;

      page = run "page-${host}" {
        text = replaceStrings
          [ "@host@" "@title@" "@country@" "@timezone@" "@wave@" "@notice@" ]
          (map html [ host site.title site.country declared.time.timeZone (waveOf host) (readFile ./site/notice.txt) ])
          (readFile ./site/page.html);
      } ''
        mkdir $out
        printf %s "$text" > $out/index.html
        ln -s ${formulary}/formulary.csv $out/formulary.csv
      '';

      service = run "web-${host}" {
        text = replaceStrings
          [ "@shell@" "@tools@" "@listen@" "@page@" ]
          [ "${busybox}/busybox sh" "${tools}" "${site.web.address}:${toString site.web.port}" "${page}" ]
          (readFile ./system/web.sh);
      } ''
        mkdir -p $out/bin
        printf %s "$text" > $out/bin/web
        chmod 755 $out/bin/web
      '';

      etc = run "etc-${host}" {
        settings = toJSON declared;
      } ''
        mkdir $out
        echo ${host} > $out/hostname
        printf '%s\n' "$settings" > $out/settings.json
      '';
    in
    run "system-${host}" {
      text = replaceStrings
        [ "@shell@" "@tools@" "@service@" "@host@" ]
        [ "${busybox}/busybox sh" "${tools}" "${service}" host ]
        (readFile ./system/switch-to-configuration.sh);
    } ''
      mkdir -p $out/bin
      ln -s ${etc} $out/etc
      ln -s ${service} $out/service
      printf %s "$text" | sed "s|@system@|$out|g" > $out/bin/switch-to-configuration
      chmod 755 $out/bin/switch-to-configuration
    '';

  files = readDir ./org-config/hosts;
  hosts = concatLists (map
    (file: if files.${file} == "regular" && match ".*[.]nix" file != null then match "(.*)[.]nix" file else [ ])
    (attrNames files));
in
listToAttrs (map (host: { name = host; value = systemOf host; }) hosts)
