"""Bursts of pictures that protect each other: written, read, and how well they were read."""
