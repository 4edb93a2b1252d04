"""Codes that bring bytes back, over GF(256) and by XOR. They know neither frames nor pictures."""
