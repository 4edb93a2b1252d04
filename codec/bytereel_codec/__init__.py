"""Bytes to video and back; knows no cloud and no settings."""
