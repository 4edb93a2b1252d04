"""Benchmarks: what must be reached, beside a peer or the physical limit measured in the same run (`make bench`)."""
