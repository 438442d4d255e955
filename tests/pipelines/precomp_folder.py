"""A generated folder in SCAN's "precomp" layout, small and learnable: no photograph is behind it."""

from pathlib import Path

import numpy as np
import torch

from xmodal.positions import block_overlaps

REGIONS, WIDTH, GUIDE = 6, 24, 8
THINGS = ("dog", "ball", "river", "horse", "child", "boat", "tree", "car")
ACTIONS = ("near", "behind", "on", "without")


def write_precomp(
    folder: Path,
    sizes: dict[str, int],
    repeated: bool = False,
    guide: bool = False,
    boxes: bool = False,
    empty: bool = False,
    seed: int = 0,
) -> None:
    """For each stem of `sizes` that many images: two things and how they stand, as regions and in five captions. With
    `repeated` an image has one row for each caption; with `guide` there are vectors of the whole image too, with
    `boxes` the blocks that each region overlaps; with `empty` nothing was found in the first image, whose regions are
    zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    fixed = np.random.default_rng(99)
    things, actions = fixed.normal(size=(len(THINGS), WIDTH)), fixed.normal(size=(len(ACTIONS), WIDTH))
    for number, (stem, count) in enumerate(sizes.items()):
        draw = np.random.default_rng([seed, number])
        first, second, action = (draw.integers(0, n, count) for n in (len(THINGS), len(THINGS), len(ACTIONS)))
        base = np.stack([things[first], things[second], actions[action]], axis=1)
        rows = base[:, np.arange(REGIONS) % 3] + 0.2 * draw.normal(size=(count, REGIONS, WIDTH))
        rows = rows.astype(np.float32)
        rows[: int(empty)] = 0
        np.save(folder / f"{stem}_ims.npy", rows.repeat(5, axis=0) if repeated else rows)
        if guide:
            np.save(folder / f"{stem}_clip.npy", base.sum(1)[:, :GUIDE].astype(np.float32))
        if boxes:
            corners = np.sort(draw.random((count, REGIONS, 2, 2)), axis=2).reshape(count, REGIONS, 4)
            ids, weights = block_overlaps(torch.from_numpy(corners))
            np.save(folder / f"{stem}_boxes.npy", torch.cat([ids, weights], dim=-1).float().numpy())
        captions = [
            f"{start} {THINGS[a]} {ACTIONS[how]} {article} {THINGS[b]}"
            for a, b, how in zip(first, second, action, strict=True)
            for start, article in (("a", "a"), ("the", "the"), ("there is a", "the"), ("one", "a"), ("some", "a"))
        ]
        (folder / f"{stem}_caps.txt").write_text("\n".join(captions) + "\n")
