"""Tar streams as a folder's reel may hold them, and what extracting one may touch."""
