"""The lossy channel: bytes to pictures that survive another encoder, and back."""
