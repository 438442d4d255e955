"""A camera-trap survey drawn by a program: for the demo and the tests, and it says so on every picture.

It is made so that a model must learn something: silhouettes and coats tell the species, under pose, distance, light,
infrared and grass; each place has a landscape and a skewed mix of species of its own, so that the background predicts
the species where a model was trained and nowhere else.
"""

from pipelines.demo.survey import TINY, DemoSettings, Generated, generate

__all__ = ["TINY", "DemoSettings", "Generated", "generate"]
