"""The command line: a face of the codec and of the road."""
