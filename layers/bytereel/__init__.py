"""The road: model, ports, steps, conversions, adapters and the command line."""
