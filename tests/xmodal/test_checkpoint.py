"""Checkpoints: resuming changes nothing, every part of the state matters, and no damaged file is ever loaded."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.xmodal import tiny
from xmodal import checkpoint, generators, tensor_file
from xmodal.batch import Batch
from xmodal.checkpoint import Damaged, Missing
from xmodal.model import CrossModalModel
from xmodal.queue import FeatureQueue
from xmodal.wordpiece import WordPiece

STEPS, CUT = 6, 3
DROPOUT: dict[str, Any] = {
    "text": tiny.SETTINGS["text"] | {"dropout": 0.2},
    "tasks": tiny.ALL_TASKS | {"lm": {"decoder": tiny.FUSION, "bridge": 0.5, "distillation": {"ramp": 15}}, "cons": {}},
    "image_enhance": [{"kind": "residual_attention", "heads": 2}],
}


class Run:
    """A training run in small: model, optimizer, a learning rate that is a function of the step, batches by step."""

    def __init__(self) -> None:
        self.model = tiny.model(**DROPOUT)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-2, weight_decay=0.1)
        self.step = 0

    def train(self, until: int) -> "Run":
        while self.step < until:
            for group in self.optimizer.param_groups:
                group["lr"] = 1e-2 * (1 - self.step / STEPS)
            tiny.step(self.model, self.optimizer, tiny.batch(4, step=self.step))
            self.step += 1
        return self

    def save(self, folder: Path) -> Path:
        checkpoint.save(
            folder,
            model=self.model,
            queue=self.model.queue.state(),
            optimizer=self.optimizer,
            state={"step": self.step, "history": [{"loss": 0.1}]},
            recipe_yaml="name: tïny\n",
            wordpiece=tiny.wordpiece(),
            attributes_json='{"attributes": {"species": ["zebra"]}}',
            rng=[checkpoint.rng_state()],
        )
        return folder

    def restore(self, folder: Path) -> "Run":
        self.step = checkpoint.restore(folder, model=self.model, optimizer=self.optimizer)["step"]
        checkpoint.restore_rng(folder, 0, 1)
        return self

    def everything(self) -> dict[str, Tensor]:
        moments, _ = tensor_file.optimizer_parts(self.optimizer)
        parts = {"model": self.model.state_dict(), "queue": self.model.queue.state(), "moments": moments}
        return {f"{name} {key}": one.clone() for name, part in parts.items() for key, one in part.items()}


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Tensor], dict[str, Tensor]]]:
    """A checkpoint, what the run held when it was saved, and where the same run went on to."""
    before = generators.state()
    run = Run().train(CUT)
    folder = run.save(tmp_path_factory.mktemp("run") / "checkpoint")
    held = run.everything()
    yield folder, held, run.train(STEPS).everything()
    generators.restore(before)


def test_everything_comes_back_bit_by_bit(saved: Any) -> None:
    folder, held, _ = saved
    assert differing(Run().restore(folder).everything(), held) == []
    assert checkpoint.read_state(folder) == {"step": CUT, "history": [{"loss": 0.1}]}
    assert checkpoint.read_text(folder, "recipe.yaml") == "name: tïny\n"
    assert checkpoint.read_wordpiece(folder) == tiny.wordpiece()
    assert json.loads(checkpoint.read_text(folder, "attributes.json"))["attributes"] == {"species": ["zebra"]}


def test_a_resumed_run_is_the_run_that_never_stopped(saved: Any) -> None:
    folder, _, end = saved
    torch.manual_seed(99)
    assert differing(Run().restore(folder).train(STEPS).everything(), end) == []


def test_ten_resumes_are_none(saved: Any, tmp_path: Path) -> None:
    folder, _, end = saved
    for step in range(CUT + 1, STEPS + 1):
        folder = Run().restore(folder).train(step).save(tmp_path / str(step))
    assert differing(Run().restore(folder).everything(), end) == []


def forget_queue(run: Run) -> None:
    run.model.queue.clear()


def forget_key_encoder(run: Run) -> None:
    run.model.key.reset()


def forget_average_of_the_decoder(run: Run) -> None:
    average = run.model.key_encoders["tasks.lm.labels.key"]
    average.reset()


def forget_optimizer(run: Run) -> None:
    run.optimizer.state.clear()


def forget_generators(run: Run) -> None:
    torch.manual_seed(7)


def forget_position(run: Run) -> None:
    run.step = CUT - 1


def forget_schedule(run: Run) -> None:
    """The learning rate starts over while the data goes on."""
    for group in run.optimizer.param_groups:
        group["lr"] = 1e-2
    tiny.step(run.model, run.optimizer, tiny.batch(4, step=run.step))
    run.step += 1


FORGETS = [
    forget_queue,
    forget_key_encoder,
    forget_average_of_the_decoder,
    forget_optimizer,
    forget_generators,
    forget_position,
    forget_schedule,
]


@pytest.mark.parametrize("forget", FORGETS)
def test_every_part_of_the_state_is_noticed_where_it_is_lost(saved: Any, forget: Callable[[Run], None]) -> None:
    folder, _, end = saved
    run = Run().restore(folder)
    forget(run)
    assert any(name.startswith("model query") for name in differing(run.train(STEPS).everything(), end))


@pytest.fixture
def copied(saved: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved[0], tmp_path / "copy"))


@pytest.mark.parametrize("name", [*checkpoint.FILES, checkpoint.MANIFEST])
@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_a_flipped_bit_is_named(copied: Path, name: str, place: float) -> None:
    data = bytearray((copied / name).read_bytes())
    data[int(place * len(data))] ^= 1
    (copied / name).write_bytes(data)
    with pytest.raises(Damaged, match=name):
        Run().restore(copied)


@pytest.mark.parametrize("name", [*checkpoint.FILES, checkpoint.MANIFEST])
def test_a_missing_or_cut_file_is_named(copied: Path, name: str) -> None:
    data = (copied / name).read_bytes()
    for share in (0.0, 0.3, 0.99):
        (copied / name).write_bytes(data[: int(share * len(data))])
        with pytest.raises(Damaged, match=name):
            checkpoint.verify(copied)
    (copied / name).unlink()
    with pytest.raises(Missing, match=name):
        checkpoint.verify(copied)


def test_a_refused_checkpoint_leaves_the_run_as_it_was(copied: Path) -> None:
    run = Run().train(1)
    before = run.everything()
    (copied / "optimizer.json").write_bytes(b"{}")
    with pytest.raises(Damaged):
        run.restore(copied)
    assert differing(run.everything(), before) == []


def test_weights_alone_need_no_other_file(copied: Path) -> None:
    for name in checkpoint.FILES:
        if name not in checkpoint.WEIGHTS:
            (copied / name).unlink()
    run = Run().train(2)
    checkpoint.load_weights(copied, run.model)
    found, held = run.model, Run()
    assert len(found.queue) == 0
    for mean, latest in zip(found.key.parameters(), found.query.parameters(), strict=True):
        assert torch.equal(mean, latest)
    assert not torch.equal(next(iter(found.query.parameters())), next(iter(held.model.query.parameters())))


def test_momentum_comes_back_for_those_who_ask(saved: Any) -> None:
    folder, held, _ = saved
    run = Run()
    checkpoint.load_weights(folder, run.model)
    assert len(run.model.queue) == 0
    checkpoint.load_momentum(folder, run.model)
    found = {name: one for name, one in run.everything().items() if not name.startswith("moments")}
    assert differing(found, {name: held[name] for name in found}) == []


def test_another_architecture_is_refused_by_name(saved: Any) -> None:
    wider = tiny.model(embed_dim=9, **DROPOUT)
    with pytest.raises(Damaged, match=r"model\.safetensors.*does not fit.*head"):
        checkpoint.load_weights(saved[0], wider)
    fewer = tiny.model(text=DROPOUT["text"], image_enhance=DROPOUT["image_enhance"])
    with pytest.raises(Damaged, match=r"model\.safetensors.*tasks"):
        checkpoint.load_weights(saved[0], fewer)
    longer = tiny.model(queue={"size": 11}, **DROPOUT)
    with pytest.raises(Damaged, match=r"queue\.safetensors.*sample_id"):
        checkpoint.restore(saved[0], model=longer, optimizer=torch.optim.AdamW(longer.parameters()))


def test_other_words_of_the_same_number_are_refused_in_one_line(saved: Any) -> None:
    """Their tensors have one shape, so nothing else would tell; the words that the model has are fine."""
    folder = saved[0]
    other = WordPiece([*tiny.wordpiece().tokens[:-2], "w24", "w23"])

    def built(wordpiece: WordPiece, **changes: Any) -> CrossModalModel:
        return CrossModalModel(tiny.settings(**DROPOUT | changes), wordpiece, tiny.ATTRIBUTES)

    checkpoint.check_vocabulary(folder, built(tiny.wordpiece()))
    with pytest.raises(
        Damaged, match=r"wordpiece\.json: its 30 pieces, whose weights text has, .*2 of the same id"
    ) as told:
        checkpoint.check_vocabulary(folder, built(other))
    assert "\n" not in str(told.value)
    config = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    frozen = {"kind": "hugging_face", "config": config | {"intermediate_size": 16}, "length": 8}
    with pytest.raises(Damaged, match="whose weights lm has"):
        checkpoint.check_vocabulary(folder, built(other, text=frozen))
    checkpoint.check_vocabulary(folder, built(other, text=frozen, tasks={"itc": {}}))  # its identity is compared


def test_a_warm_start_may_know_more_words(saved: Any) -> None:
    """What the checkpoint's vocabulary has keeps its id and its weights; what came after has the model's own."""
    folder, held, _ = saved
    grown = tiny.wordpiece().grown(["w1 ø"])
    assert grown.tokens == (*tiny.wordpiece().tokens, "ø", "##ø")
    warm, fresh = (CrossModalModel(tiny.settings(**DROPOUT), grown, tiny.ATTRIBUTES) for _ in range(2))
    fresh.load_state_dict(warm.state_dict())
    checkpoint.load_warm(folder, warm)
    before = len(tiny.wordpiece())
    rows = 0
    for name, one in warm.query.named_parameters():
        saved_rows, own = held[f"model query.{name}"], fresh.query.get_parameter(name)
        known = one
        if one.shape != saved_rows.shape:
            rows, known = rows + 1, one[:before]
            assert len(one) == before + 2 and torch.equal(one[before:], own[before:]), name
        assert torch.equal(known, saved_rows), name
    assert rows >= 1
    shorter = CrossModalModel(tiny.settings(**DROPOUT), WordPiece(tiny.wordpiece().tokens[:-1]), tiny.ATTRIBUTES)
    with pytest.raises(Damaged, match=r"wordpiece\.json"):
        checkpoint.load_warm(folder, shorter)


def test_a_warm_start_drops_the_queue_and_starts_the_key_encoder_anew(saved: Any) -> None:
    """Ids of stored keys are of the checkpoint's attributes: a warm start may have others, so no row comes along, and
    the key encoder that made them does not either."""
    folder, held, _ = saved
    assert (held["queue step_written"] >= 0).any()
    warm = CrossModalModel(tiny.settings(**DROPOUT), tiny.wordpiece(), tiny.ATTRIBUTES + 2)
    warm.queue.push(tiny.encodings(warm, more_attributes(tiny.batch(3))).gathered, 0)
    assert len(warm.queue) == 3
    checkpoint.load_weights(folder, warm)
    assert len(warm.queue) == 0 and not warm.queue.valid.any()
    followed = dict(warm.key.encoder.named_parameters())
    assert all(torch.equal(one, followed[name]) for name, one in warm.query.named_parameters())
    with pytest.raises(Damaged, match=r"queue\.safetensors"):
        checkpoint.load_momentum(folder, warm)


def more_attributes(given: Batch) -> Batch:
    codes = {name: torch.nn.functional.pad(getattr(given, name), [0, 2]) for name in ("image_codes", "text_codes")}
    return replace(given, **codes)


def test_averages_are_no_part_of_the_weights(saved: Any) -> None:
    folder, held, _ = saved
    weights, keys = (tensor_file.read(folder / name) for name in ("model.safetensors", "key.safetensors"))
    averaged = [name for name in keys if name.startswith("tasks.lm.labels.key.")]
    assert averaged and not any("key.encoder" in name for name in weights)
    assert weights.keys() | keys.keys() == {name.removeprefix("model ") for name in held if name.startswith("model ")}


def test_another_format_is_refused(copied: Path) -> None:
    manifest = json.loads((copied / checkpoint.MANIFEST).read_text())
    del manifest["digest"]
    manifest["format"] = 2
    text = json.dumps(manifest | {"digest": checkpoint._digest(manifest)})
    (copied / checkpoint.MANIFEST).write_text(text)
    with pytest.raises(Damaged, match="format 2, this release reads 1"):
        checkpoint.verify(copied)


def test_there_is_no_pickle(saved: Any) -> None:
    assert {path.suffix for path in saved[0].iterdir()} == {".safetensors", ".json", ".yaml"}


def test_frozen_encoders_stay_outside_and_are_recognised(tmp_path: Path) -> None:
    def built(hidden: int) -> CrossModalModel:
        config = {"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        config |= {"intermediate_size": hidden, "image_size": 16, "patch_size": 8}
        return tiny.model(image={"kind": "hugging_face", "config": config, "frozen": True})

    def save(model: CrossModalModel) -> None:
        checkpoint.save(
            tmp_path,
            model=model,
            queue=model.queue.state(),
            optimizer=torch.optim.AdamW(model.parameters()),
            state={},
            recipe_yaml="",
            wordpiece=tiny.wordpiece(),
            attributes_json="{}",
            rng=[checkpoint.rng_state()],
        )

    model = built(16)
    features = model.image_features(tiny.batch(2).image)
    assert not any("image.encoder" in name for name in model.state_dict()) and model.identities.keys() == {"image"}
    assert features.shape == (2, 5, 8) and model(tiny.batch(2, image=features))["itc"] > 0
    assert model.key.encoder.image.encoder.backbone is model.query.image.encoder.backbone
    save(model)
    checkpoint.load_weights(tmp_path, built(16))
    with pytest.raises(Damaged, match="trained on image encoder"):
        checkpoint.load_weights(tmp_path, built(24))


def test_tied_tensors_are_stored_once(tmp_path: Path) -> None:
    weight = torch.randn(50, 50)
    tensor_file.write(
        tmp_path / "x", {"in": weight, "out": weight, "part": weight[:2], "none": weight[:0], "zero": weight[:0]}
    )
    read = tensor_file.read(tmp_path / "x")
    assert torch.equal(read["out"], weight) and torch.equal(read["part"], weight[:2]) and read["zero"].shape == (0, 50)
    assert (tmp_path / "x").stat().st_size < 1.2 * weight.numel() * 4


def test_generators_go_on_where_they_were() -> None:
    def draws() -> list[float]:
        return [
            torch.rand(1).item(),
            random.random(),
            random.gauss(),
            float(np.random.rand()),
            float(np.random.randn()),
        ]

    draws()
    state = json.loads(json.dumps(generators.state()))
    first = draws()
    generators.restore(state)
    assert draws() == first


def test_generators_differ_by_rank_when_the_world_size_changed(saved: Any) -> None:
    before, drawn = generators.state(), []
    for rank in range(3):
        checkpoint.restore_rng(saved[0], rank, 3)
        drawn.append(torch.rand(1).item())
    generators.restore(before)
    assert len(set(drawn)) == 3


def test_a_queue_goes_through_a_file(tmp_path: Path) -> None:
    run = Run().train(2)
    tensor_file.write(tmp_path / "queue", run.model.queue.state())
    other = FeatureQueue(10, 8, tiny.ATTRIBUTES)
    other.load(tensor_file.read(tmp_path / "queue"))
    assert all(torch.equal(one, other.state()[name]) for name, one in run.model.queue.state().items())
