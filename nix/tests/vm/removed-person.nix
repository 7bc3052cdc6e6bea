# Promise: who has left does not get in any more, at the host or at the relay; who stays does.
# Not run here: needs nixpkgs' test driver.
{ lib, afield }:
let
  without = { lib, ... }: {
    afield.folder = lib.mkForce (afield.folder // {
      users = afield.folder.users // { perHost.clinic.enable.person = "admin"; };
    });
  };
in
{
  name = "removed-person";
  nodes.relay = afield.relay { specialisation.after.configuration = without; };
  nodes.clinic = afield.clinic { specialisation.after.configuration = without; };
  nodes.desk.environment.etc = lib.genAttrs [ "person" "leaver" ] (name: {
    source = afield.keys.${name}.private;
    mode = "0400";
  });

  testScript = ''
    def login(user, host="clinic", who=None):
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes"
        return f"ssh -i /etc/{user} {options} {who or user}@{host} true"

    pass_on = login("leaver", "relay", "tunneller").replace(" true", " -W localhost:2001 </dev/null")
    switch = "/run/current-system/specialisation/after/bin/switch-to-configuration test"

    start_all()
    desk.wait_until_succeeds(login("person"), timeout=120)
    desk.succeed(login("leaver"))
    desk.wait_until_succeeds(pass_on, timeout=120)

    clinic.succeed(switch)
    relay.succeed(switch)
    with subtest("the leaver is out, everywhere"):
        desk.fail(login("leaver"))
        desk.fail(pass_on)
    with subtest("the others are not"):
        desk.succeed(login("person"))
  '';
}
