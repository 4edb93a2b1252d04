"""Bytes to a reel."""
