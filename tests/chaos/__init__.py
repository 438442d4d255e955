"""Kills at every durable operation: `make chaos KILLS=n SEED=s MINUTES=m LEAST=l` (conftest.py)."""
