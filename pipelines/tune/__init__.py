"""`xmodal tune`: sweeps over spaces of `tune_spaces`, by Ray Tune and Optuna."""
