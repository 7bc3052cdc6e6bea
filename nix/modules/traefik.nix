# Traefik as a container in front of the apps: one place for certificates and names.
{ config, lib, pkgs, ... }:
let
  cfg = config.settings.services.traefik;
  json = name: value: "${pkgs.writeText name (builtins.toJSON value)}";
  port = toString cfg.traefik_entrypoint_port;
  files = lib.filterAttrs (_: file: file.enable) cfg.dynamic_config;
  entrypoints = lib.filterAttrs (_: one: one.enable) cfg.tls_entrypoints;
  # JSON is YAML, so Traefik reads it.
  static = json "traefik-static.yml" (import ../lib/traefik-static.nix { inherit lib; } { inherit cfg entrypoints; });
  staging = "https://acme-staging-v02.api.letsencrypt.org/directory";

  # Given on from the environment files, for the challenge through DNS.
  environment = [
    "AWS_ACCESS_KEY_ID"
    "AWS_SECRET_ACCESS_KEY"
    "AWS_HOSTED_ZONE_ID"
    "AWS_REGION"
    "EXEC_PATH"
    "EXEC_POLLING_INTERVAL"
    "EXEC_PROPAGATION_TIMEOUT"
    "EXEC_SEQUENCE_INTERVAL"
  ];
in
{
  imports = [ ./traefik-options.nix ];

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = config.settings.docker.enable;
        message = "settings.services.traefik.enable needs Docker. Set settings.docker.enable = true.";
      }
    ];
    settings.services.traefik = {
      acme = {
        email_address = lib.mkDefault config.afield.folder.metadata.acme_email_address;
        dnsProvider = lib.mkDefault cfg.acme.dnsProviders.route53;
        caServer = lib.mkIf cfg.acme.staging.enable (lib.mkDefault staging);
      };
      docker.swarm.endpoint = lib.mkDefault "unix:///var/run/docker.sock";
      tls_entrypoints = {
        smqtt = {
          enable = lib.mkDefault cfg.smqtt_enable;
          port = 8883;
        };
        smtp = {
          enable = lib.mkDefault cfg.smtp_enable;
          port = 1025;
        };
      };
      dynamic_config.default_config.value.http.middlewares.security-headers.headers = {
        stsSeconds = 31536000;
        contentTypeNosniff = cfg.content_type_nosniff_enable;
        # Apps that are shown inside of others switch it off.
        customFrameOptionsValue = lib.mkIf cfg.forceSameOrigin "SAMEORIGIN";
      };
    };

    virtualisation.oci-containers = {
      backend = "docker";
      containers.${cfg.service_name} = {
        image = "${cfg.image}:${cfg.version}";
        cmd = [ "--configfile=/traefik-static.yml" ];
        # Ports of the dashboard and of health checks stay on the host.
        ports = [ "80:80" "443:443/tcp" "443:443/udp" ]
        ++ map (one: "${lib.optionalString (one.host != "") "${one.host}:"}${toString one.port}:${toString one.port}/tcp") (lib.attrValues cfg.tls_entrypoints)
        ++ [ "127.0.0.1:${port}:${port}" "[::1]:${port}:${port}" ];
        volumes = [
          "/etc/localtime:/etc/localtime:ro"
          "/var/run/docker.sock:/var/run/docker.sock:ro"
          "${static}:/traefik-static.yml:ro"
          "traefik_letsencrypt:${cfg.acme.storage}"
        ]
        ++ lib.mapAttrsToList (name: file: "${json "${name}.yml" file.value}:/traefik-dynamic.conf.d/${name}.yml:ro") files
        ++ map (file: "${toString file}:${toString file}:ro") cfg.acme.extraCaCertificateFiles
        ++ cfg.extraVolumes;
        environmentFiles = map (file: /. + file) cfg.extraEnvironmentFiles;
        workdir = "/";
        extraOptions = map (name: "--env=${name}") environment ++ [
          "--network=${cfg.network_name}"
          "--tmpfs=/tmp:rw,nodev,nosuid,noexec"
          "--tmpfs=/run:rw,nodev,nosuid,noexec"
          "--health-cmd=traefik healthcheck --ping"
          "--health-interval=60s"
          "--health-retries=3"
          "--health-timeout=3s"
        ];
      };
    };

    # Apps join this network by its name, so it must be there first.
    systemd.services."docker-network-${cfg.network_name}" = {
      description = "Docker network ${cfg.network_name}";
      wantedBy = [ "docker-${cfg.service_name}.service" ];
      before = [ "docker-${cfg.service_name}.service" ];
      after = [ "docker.service" ];
      requires = [ "docker.service" ];
      path = [ config.virtualisation.docker.package ];
      script = ''
        docker network inspect ${cfg.network_name} >/dev/null 2>&1 || docker network create ${cfg.network_name}
      '';
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
      };
    };
  };
}
