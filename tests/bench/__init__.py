"""Benchmarks: `python -m tests.bench [NAME...]`. Each runs our side and a plain reference in turn on the same work."""
