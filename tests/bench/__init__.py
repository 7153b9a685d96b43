"""Benchmarks: ours against peers, in one run on one machine. `make bench` runs them and writes BENCHMARKS.md."""
