"""The multi-task step (ITC with queue, ITM, LM, key encoder) against a plain in-batch CLIP step of the same encoders.

`python -m tests.bench.step [DEVICE [PRECISION [compiled | lengths]]]`; no Ray. Shapes have ViT-B/16's proportions, as
ALBEF and BLIP train them: 12 blocks over 14 x 14 patches, text, fusion encoder and decoder of 6 blocks, captions of 8
to 24 pieces. Their width is 192 on a CPU and 768 on a GPU.

Beside the ratios: samples a second, what share of the device's peak the step's multiplications come to, peak memory,
and where the step's time goes. Multiplications are counted by torch over forward and backward; the peak is what a
product of two large matrices reaches in the same precision, measured before.
"""

import ctypes
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from pipelines.train.descent import Descent
from pipelines.train.settings import TrainSettings
from tests.bench.frame import Comparison, Side, compare, show
from xmodal.batch import Batch
from xmodal.model import CrossModalModel, ModelSettings
from xmodal.settings import parse
from xmodal.wordpiece import WordPiece

VIT_B = (768, 12)
"""Width and heads of ViT-B/16."""
SHAPES = {"cpu": (16, 192, 3, 2), "cuda": (256, *VIT_B, 10)}
"""Rows, width, heads, and steps a run."""
QUEUE, PIECES = 65_536, 8192
SHORTEST, LONGEST = 8, 24
"""Pieces of a caption, evenly."""
WINDOW = 8
"""Batches that are sorted by length among each other, where they are."""
PEAK_SIDE = {"cpu": 2048, "cuda": 8192}


class StepBench:
    """Both sides on one device."""

    def __init__(self, device: str, precision: str):
        self.device, self.precision = device, precision
        self.rows, self.width, self.heads, self.steps = SHAPES[torch.device(device).type]
        self.words = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(PIECES - 5))])

    def tasks(self) -> dict[str, dict[str, Any]]:
        six = {"width": self.width, "depth": 6, "heads": self.heads}
        itm, lm = {"fusion": six}, {"decoder": six}
        return {
            "ITC": {"itc": {}},
            "ITC + LM": {"itc": {}, "lm": lm},
            "ITC + ITM + LM": {"itc": {}, "itm": itm, "lm": lm},
        }

    def settings(self, tasks: dict[str, Any]) -> ModelSettings:
        width = {"width": self.width, "heads": self.heads}
        image, text = {"kind": "vit", "depth": 12, **width}, {"kind": "transformer", "depth": 6, **width}
        return parse(ModelSettings, {"image": image, "text": text, "queue": {"size": QUEUE}, "tasks": tasks})

    def model(self, tasks: dict[str, Any]) -> CrossModalModel:
        return CrossModalModel(self.settings(tasks), self.words, 4).to(self.device)

    def ours(self, tasks: dict[str, Any]) -> "Stepper":
        return self.stepper(self.model(tasks))

    def plain(self) -> "Stepper":
        return self.stepper(CLIP(self.settings({"itc": {}}), self.words))

    def stepper(self, model: "CrossModalModel | CLIP") -> "Stepper":
        train = parse(TrainSettings, {"global_batch": self.rows, "precision": self.precision})
        return Stepper(model.to(self.device).train(), train, self.steps)

    def peak(self) -> float:
        """Multiply-adds, counted as two, that the device does a second."""
        side = PEAK_SIDE[torch.device(self.device).type]
        kind = torch.bfloat16 if self.precision == "bf16" else torch.float32
        one, other = (torch.randn(side, side, device=self.device, dtype=kind) for _ in range(2))
        best = min(_seconds(self.device, lambda: one @ other) for _ in range(6))
        return 2 * side**3 / best


class CLIP(nn.Module):
    """The reference: the same two encoders and heads, symmetric cross entropy over the batch (Radford et al., 2021)."""

    def __init__(self, settings: ModelSettings, words: WordPiece):
        super().__init__()
        whole = CrossModalModel(settings, words, 4)
        self.query, self.temperature, self.weights = whole.query, whole.temperature, {"clip": 1.0}
        self.figures: dict[str, Tensor] = {}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        image = self.query.image_vectors(self.query.image(batch.image))
        text = self.query.text_vectors(self.query.text(batch.text, batch.text_mask), batch.text_mask)
        logits, own = self.temperature.scaled(image @ text.T), torch.arange(len(image), device=image.device)
        return {"clip": (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2}

    def after_step(self, step: int) -> None:
        """Nothing follows and nothing is queued."""


class Stepper:
    """A model and its optimizer; every one sees the same batches."""

    def __init__(self, model: "CrossModalModel | CLIP", train: TrainSettings, steps: int):
        self.model, self.rows, self.steps, self.position = model, train.global_batch, steps, 0
        self.lengths = drawn_lengths
        self.descent = Descent(model, train, 10**9)  # pyright: ignore[reportArgumentType]
        self.device = model.temperature.value.device

    def step(self) -> None:
        lengths = self.lengths(self.position, self.rows)
        batch = drawn_batch(self.position, lengths).to(self.device)
        self.descent.gradients(self.model, batch)
        self.descent.step(batch.step)
        self.position += 1

    def run(self) -> int:
        for _ in range(self.steps):
            self.step()
        return self.steps * self.rows


def comparisons(device: str = "cpu", precision: str = "fp32") -> Iterator[Comparison]:
    """One comparison a set of tasks."""
    torch.set_num_threads(1)
    bench = StepBench(device, precision)
    plain = bench.plain()
    for title, tasks in bench.tasks().items():
        about = f"train step, {title}, {bench.rows} rows, width {bench.width}, {precision}, {device}"
        yield compare(about, "sample", Side("xmodal", bench.ours(tasks).run), Side("in-batch CLIP", plain.run))
    yield following(bench)


def following(bench: StepBench) -> Comparison:
    """The key encoder's step against a copy of as many numbers, at ViT-B/16's size on every device."""
    bench = StepBench(bench.device, bench.precision)
    bench.width, bench.heads = VIT_B
    key = bench.model({"itc": {}}).key
    average = list(key.encoder.parameters())
    source = [torch.randn_like(one) for one in average]

    def copied() -> None:
        for mean, latest in zip(average, source, strict=True):
            mean.copy_(latest)

    def often(act: Callable[[], None]) -> Callable[[], float]:
        return lambda: len([act() for _ in range(20)])

    ours = Side("the key encoder follows", often(lambda: key.follow(0)))
    weights = sum(one.numel() for one in average) / 1e6
    return compare(f"{weights:.0f} M weights, {bench.device}", "step", ours, Side("a copy of them", often(copied)))


def compiled(device: str = "cpu", precision: str = "fp32") -> Comparison:
    """The whole step with its four towers by torch.compile against the same without."""
    torch.set_num_threads(1)
    bench = StepBench(device, precision)
    tasks = bench.tasks()["ITC + ITM + LM"]
    model = bench.model(tasks)
    for towers in (model.query, model.key.encoder):
        towers.image.compile()
        towers.text.compile(dynamic=True)  # texts differ in length
    ours, plain = bench.stepper(model), bench.ours(tasks)
    about = f"train step, ITC + ITM + LM, {bench.rows} rows, width {bench.width}, {precision}, {device}"
    return compare(about, "sample", Side("towers by torch.compile", ours.run), Side("as they are", plain.run))


def lengths(device: str = "cpu", precision: str = "fp32") -> Comparison:
    """The whole step on batches of like texts against the same texts as drawn, WINDOW steps a run; three pairs."""
    torch.set_num_threads(1)
    bench = StepBench(device, precision)
    bench.steps = WINDOW
    tasks = bench.tasks()["ITC + ITM + LM"]
    ours, plain = bench.ours(tasks), bench.ours(tasks)
    ours.lengths = like_lengths
    about = f"train step, ITC + ITM + LM, {bench.rows} rows, {SHORTEST} to {LONGEST} pieces, {precision}, {device}"
    return compare(about, "sample", Side("texts of like length", ours.run), Side("as drawn", plain.run), 3)


ALONE = {"compiled": compiled, "lengths": lengths}
"""Comparisons that are made only when they are named."""


def report(device: str, precision: str) -> Iterator[str]:
    """Rate, share of the peak and memory of each step, and the parts of the whole one."""
    bench = StepBench(device, precision)
    peak = bench.peak()
    yield f"peak of a matrix product, {precision}: {peak / 1e12:.3g} TFLOP/s"
    yield told("in-batch CLIP", bench.plain(), peak)
    for title, tasks in bench.tasks().items():
        yield told(title, bench.ours(tasks), peak)
    whole = bench.ours(bench.tasks()["ITC + ITM + LM"])
    seconds, parts = min(_seconds(device, whole.step) for _ in range(5)), shares(whole, device)
    yield f"parts of ITC + ITM + LM, each by itself, of a step of {seconds * 1e3:.0f} ms:"
    yield from (f"  {name:<64}{part / seconds:>4.0%}" for name, part in parts.items())


def told(title: str, stepper: Stepper, peak: float) -> str:
    """A line about a step: `peak` is in FLOP a second."""
    device = stepper.device.type
    _memory(device)
    stepper.step()
    with FlopCounterMode(display=False) as counted:
        stepper.step()
    flops, memory = counted.get_total_flops() / stepper.rows, _memory(device)
    seconds = min(_seconds(device, stepper.step) for _ in range(5)) / stepper.rows
    return (f"{title:<16}{1 / seconds:>8.4g} samples/s  {flops / 1e9:>6.3g} GFLOP a sample  "
            f"{flops / seconds / peak:>5.0%} of the peak  {memory}")  # fmt: skip


def shares(stepper: Stepper, device: str) -> dict[str, float]:
    """Seconds of each part of a step, run by itself on a step's rows: their sum is about the step's."""
    model, batch = stepper.model, drawn_batch(0, drawn_lengths(0, stepper.rows)).to(device)
    assert isinstance(model, CrossModalModel)
    query, key, tasks = model.query, model.key.encoder, model.tasks
    image, text = query.image(batch.image).detach(), query.text(batch.text, batch.text_mask).detach()
    thrice, owner = torch.cat([text] * 3), torch.arange(len(image), device=image.device).repeat(3)
    masks = torch.cat([batch.text_mask] * 3)
    learn: dict[str, Callable[[], Tensor]] = {
        "image encoder": lambda: query.image(batch.image),
        "text encoder": lambda: query.text(batch.text, batch.text_mask),
        "fusion encoder, pairs and two negatives": lambda: tasks["itm"].fusion(thrice, masks, image, owner),  # pyright: ignore
        "caption decoder": lambda: tasks["lm"].decoder(batch.caption[:, :-1], image),  # pyright: ignore
    }
    follow: dict[str, Callable[[], object]] = {
        "key encoder, forward": lambda: (key.image(batch.image), key.text(batch.text, batch.text_mask)),
        "key encoder follows": lambda: model.key.follow(0),
        "optimizer": stepper.descent.optimizer.step,
    }

    def both(part: Callable[[], Tensor]) -> None:
        with stepper.descent.autocast:
            made = part()
        made.float().sum().backward()

    def alone(part: Callable[[], object]) -> None:
        with torch.no_grad(), stepper.descent.autocast:
            part()

    runs = {f"{name}, forward and backward": lambda part=part: both(part) for name, part in learn.items()}
    runs |= {name: lambda part=part: alone(part) for name, part in follow.items()}
    return {name: min(_seconds(device, run) for _ in range(3)) for name, run in runs.items()}


def _seconds(device: str, act: Callable[[], object]) -> float:
    """Of the clock, until the device has done it."""
    _wait(device)
    begun = time.perf_counter()
    act()
    _wait(device)
    return time.perf_counter() - begun


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def _memory(device: str) -> str:
    """Peak since the last look: of a GPU what tensors had, of a CPU what the process had (Linux's own counter)."""
    if torch.device(device).type == "cuda":
        most = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return f"peak {most / 1e9:.3g} GB"
    ctypes.CDLL(None).malloc_trim(0)  # what has been freed is no part of what comes
    told = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    Path("/proc/self/clear_refs").write_text("5")  # the counter begins anew
    return f"peak {int(told['VmHWM'].split()[0]) * 1024 / 1e9:.3g} GB, of the process"


def drawn_lengths(step: int, rows: int) -> Tensor:
    """(rows,) pieces of each caption of a step."""
    return torch.randint(SHORTEST, LONGEST + 1, (rows,), generator=torch.Generator().manual_seed(step))


def like_lengths(step: int, rows: int) -> Tensor:
    """The same captions, but those of WINDOW steps sorted, the steps then in a drawn order."""
    window, within = divmod(step, WINDOW)
    sorted_ = torch.cat([drawn_lengths(window * WINDOW + one, rows) for one in range(WINDOW)]).sort().values
    return sorted_.view(WINDOW, rows)[torch.randperm(WINDOW, generator=torch.Generator().manual_seed(window))[within]]


def drawn_batch(step: int, length: Tensor) -> Batch:
    """Random rows with captions of `length` (rows,) pieces, padded to the longest."""
    generator, rows, places = torch.Generator().manual_seed(step), len(length), int(length.max())
    mask = torch.arange(places) < length[:, None]
    ids = torch.randint(5, PIECES, (rows, places), generator=generator).masked_fill(~mask, 0)
    name = torch.arange(rows) + step * rows
    return Batch(
        image=torch.randint(0, 256, (rows, 3, 224, 224), generator=generator, dtype=torch.uint8),
        text=ids,
        text_mask=mask,
        caption=ids,
        sample_id=name,
        caption_id=name,
        sequence_id=torch.full((rows,), -1),
        image_codes=torch.full((rows, 4), -1, dtype=torch.int32),
        text_codes=torch.full((rows, 4), -1, dtype=torch.int32),
        valid=torch.ones(rows, dtype=torch.bool),
        slot=torch.arange(rows),
        step=step,
    )


def main(device: str = "cpu", precision: str = "fp32", what: str = "") -> None:
    if what:
        show([ALONE[what](device, precision)])
    else:
        show(comparisons(device, precision))
        print("\n".join(report(device, precision)))


if __name__ == "__main__":
    main(*sys.argv[1:4])
