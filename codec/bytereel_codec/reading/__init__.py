"""A reel back to its bytes: found, opened, recovered, proved."""
