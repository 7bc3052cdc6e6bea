# Promise: if a host has power and any Internet, somebody can log in to it, also after the relay was away.
# Not run here: needs nixpkgs' test driver.
{ lib, afield }:
{
  name = "relay-and-reconnect";
  nodes.relay = afield.relay { };
  nodes.clinic = afield.clinic { };
  nodes.desk = {
    environment.etc."person".source = afield.keys.person.private;
    environment.etc."person".mode = "0400";
  };

  testScript = ''
    jump = "ssh -i /etc/person -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    login = f"{jump} -o 'ProxyCommand={jump} -W localhost:2001 -p 443 tunneller@relay' person@localhost hostname"

    start_all()
    with subtest("through the relay, on a port that hospitals let out"):
        desk.wait_until_succeeds(login, timeout=120)

    with subtest("the host's firewall drops port 22: the next port is tried"):
        for program in ["iptables", "ip6tables"]:
            clinic.succeed(f"{program} -I OUTPUT ! -o lo -p tcp --dport 22 -j DROP")
        clinic.succeed("systemctl restart afield-tunnel-relay")
        desk.wait_until_succeeds(login, timeout=600)

    with subtest("the relay loses power"):
        relay.crash()
        relay.start()
        desk.wait_until_succeeds(login, timeout=600)

    with subtest("a person may pass only to ports of their hosts"):
        desk.fail(f"{jump} -W localhost:22 -p 443 tunneller@relay </dev/null")
  '';
}
