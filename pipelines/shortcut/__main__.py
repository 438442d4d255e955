"""`python -m pipelines.shortcut FOLDER`: runs every variant and writes shortcut.md with its drawings, in minutes."""

import sys
from pathlib import Path

import torch

from pipelines.shortcut.page import write
from pipelines.shortcut.variants import VARIANTS, run

SEEDS = (0, 1)


def main(folder: str) -> None:
    """One thread: models so small lose by more, and sums keep their order."""
    torch.set_num_threads(1)
    runs = {name: [run(name, seed) for seed in SEEDS] for name in VARIANTS}
    for file in write(Path(folder), runs, SEEDS):
        print(file)


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["docs"])
