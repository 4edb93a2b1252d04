"""Containers and codecs that libav is to open, mutated, through the command line in a process of its own."""
