# Traefik's static configuration, as an attribute set.
{ lib }:
{ cfg, entrypoints }:
let
  acme = challenge: {
    acme = {
      email = cfg.acme.email_address;
      storage = "${cfg.acme.storage}/acme.json";
      keyType = cfg.acme.keytype;
    }
    // lib.optionalAttrs (cfg.acme.caServer != null) { inherit (cfg.acme) caServer; }
    // lib.optionalAttrs (cfg.acme.extraCaCertificateFiles != [ ]) { caCertificates = map toString cfg.acme.extraCaCertificateFiles; }
    // challenge;
  };
  tls = address: {
    inherit address;
    http.tls = { };
  };
in
{
  global = {
    checkNewVersion = false;
    sendAnonymousUsage = false;
  };
  log.level = cfg.logging_level;
  ping = { };
  api.dashboard = true;
  api.insecure = true;
  entryPoints = {
    web = {
      address = ":80";
      http.redirections.entryPoint = {
        to = "websecure";
        scheme = "https";
      };
    };
    websecure = {
      address = ":443";
      http3 = { };
      http.middlewares = [ "security-headers@file" ];
      http.encodeQuerySemicolons = cfg.encode_semicolons;
    };
    traefik.address = ":${toString cfg.traefik_entrypoint_port}";
  }
  // lib.mapAttrs (_: one: tls ":${toString one.port}") entrypoints;
  providers = {
    file.directory = "/traefik-dynamic.conf.d";
    docker.exposedByDefault = false;
    docker.network = cfg.network_name;
  }
  // lib.optionalAttrs cfg.docker.swarm.enable { swarm.endpoint = cfg.docker.swarm.endpoint; };
  certificatesResolvers = {
    letsencrypt = acme { httpChallenge.entryPoint = "web"; };
    letsencrypt_dns = acme {
      dnsChallenge = {
        provider = cfg.acme.dnsProvider;
        inherit (cfg.acme) resolvers;
        propagation = {
          inherit (cfg.acme) disableChecks;
          delayBeforeChecks = "${toString cfg.acme.delayBeforeChecks}s";
        };
      };
    };
  };
}
// lib.optionalAttrs cfg.accesslog.enable { accessLog = { }; }
