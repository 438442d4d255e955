"""Training flow: lanes of a dataset version through Ray Data into Ray Train workers."""
