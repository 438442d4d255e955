"""What each part of the method is worth on real data: the runs behind `docs/experiments.md`.

    python -m pipelines.experiments flickr8k --processes 2      # runs what is missing, then writes the page

Every run is a stored row below the recipe's root (`experiments/`), found again by the run's identity; a call does only
the rows that are missing. Each process trains one run at a time, without Ray: the prepared dataset, this code and a
store are all that a machine needs.
"""
