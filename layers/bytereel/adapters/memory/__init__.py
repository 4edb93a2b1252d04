"""Every port in memory: for tests, and as the shortest reading of the contracts."""
