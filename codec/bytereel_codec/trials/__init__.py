"""What survives a re-encode, found out by doing it, and how far from the cliff it was."""
