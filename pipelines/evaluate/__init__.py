"""Evaluation: a model and a dataset version to figures beside chance, with intervals, and a report."""
