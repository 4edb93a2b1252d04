"""Bytes in files: read by range, written whole or not at all, folders as streams, names that are safe to write."""
