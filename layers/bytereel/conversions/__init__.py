"""The conversions, one a file, behind one protocol."""
