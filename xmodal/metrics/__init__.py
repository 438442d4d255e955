"""What is measured of a model, by pure functions: each figure stands beside its chance level and its interval.

Functions return one value a query, an image or a caption, so that an interval can be drawn by resampling; `tables`
turns those into `Figure` rows. Units: percent (0..100) wherever the unit is "%".
"""

from xmodal.metrics.figure import Figure
from xmodal.metrics.intervals import Interval

__all__ = ["Figure", "Interval"]
