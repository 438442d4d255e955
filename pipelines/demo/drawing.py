"""`python -m pipelines.demo.drawing ARCHIVE`: the demo's survey, drawn by a process of its own."""

import sys

from infra.storage import open_store
from pipelines.demo.survey import DemoSettings, generate

if __name__ == "__main__":
    generate(open_store(sys.argv[1]), DemoSettings())
