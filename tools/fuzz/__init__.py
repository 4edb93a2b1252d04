"""Fuzzing: hostile input for everything that takes bytes from outside, and the laws that must hold whatever they are.

`python -m tools.fuzz --help` says how to run it, docs/fuzzing.md what is tried and what a finding is.
"""
