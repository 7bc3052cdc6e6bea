# What every host of the fleet has, whatever it runs.
{
  # Where releases are, first choice first. As long as this is empty, no agent runs.
  afield.repositories = [ "https://releases.example.org" ];
}
