"""What a reel is made of: its parameters, its layout, its parity. Arithmetic alone."""
