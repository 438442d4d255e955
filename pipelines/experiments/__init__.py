"""What each part of the method is worth on real data: the runs behind `docs/experiments.md`.

    python -m pipelines.experiments flickr8k [--minutes M]      # runs what is missing, then writes the page

Every run is a stored row below the recipe's root (`experiments/`), found again by the run's identity; a call does only
the rows that are missing. Runs are trained in this process, without Ray.
"""
