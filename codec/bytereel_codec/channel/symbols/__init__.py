"""Bytes as symbols in pictures, and back: one modulator a family."""
