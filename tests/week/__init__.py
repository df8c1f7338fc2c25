"""A week of a 50-machine fleet in virtual time: the daemon as it ships, against the simulator, over HTTP."""
