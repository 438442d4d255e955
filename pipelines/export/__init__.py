"""`xmodal export`: a trained model, and what it makes of a dataset, as files that other people's programs read."""
