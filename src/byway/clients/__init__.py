"""Client programs on this machine: connects them to an endpoint, and finds what keeps them from it."""
