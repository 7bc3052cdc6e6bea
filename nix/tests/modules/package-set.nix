{ config, ... }@args: { made-with = args; }
