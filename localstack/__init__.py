"""The cloud on one machine: servers that speak its APIs, what the road needs in them, and who runs the functions."""
