"""The three steps and the sweep. A step is given ports and calls one conversion; no step calls another."""
