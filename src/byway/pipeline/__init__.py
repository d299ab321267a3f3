"""One request from parsed to last event: targets and failover, forced tools, server tools, verdicts."""
