"""Batches on the device that trains. To a GPU they go from page-locked memory on a stream of their own, so that a copy
runs beside the step before it."""

from collections.abc import Iterator

import torch

from xmodal.batch import Batch


def on_device(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches, each there before the next step's work begins."""
    return _sent(batches, device) if device.type == "cuda" else batches


def _sent(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    stream, main = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    for batch in batches:
        with torch.cuda.stream(stream):
            sent = batch.pinned().to(device)
        main.wait_stream(stream)
        for column in sent.columns().values():
            column.record_stream(main)  # its memory is free for other use when the step is done, not when it was sent
        yield sent
