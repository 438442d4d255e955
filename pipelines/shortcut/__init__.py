"""The shortcut demonstration: repeated captions, a queue and a single positive teach encoders to tell time.

A toy in which everything else is easy, and what cures it; written up in docs/shortcut.md by

    python -m pipelines.shortcut docs
"""
