"""Benchmarks: `python -m tests.bench [NAME...]`. Each runs our side and a plain reference interleaved on the same work."""
