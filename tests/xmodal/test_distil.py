"""L_kd against loops, teachers of Hugging Face and of our own, and what a checkpoint says of them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    BertTokenizerFast,  # pyright: ignore
    CLIPConfig,
    CLIPModel,
    SiglipConfig,
    SiglipModel,
)

from tests.xmodal import tiny
from tests.xmodal.test_checkpoint import Run, differing
from xmodal import checkpoint
from xmodal.checkpoint import Damaged
from xmodal.model import CrossModalModel
from xmodal.settings import SettingsError
from xmodal.tasks.distil import Distilling
from xmodal.teacher import HuggingFaceTeacher

SMALL: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
TAU = 0.1


PLACES = 12
"""Texts that the small SigLIP takes are padded to."""


def save_tokeniser(folder: Path) -> str:
    (folder / "vocab.txt").write_text("\n".join(tiny.wordpiece().tokens))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small SigLIP, whose text tower reads its padding and pools the last place."""
    folder = tmp_path_factory.mktemp("siglip")
    torch.manual_seed(6)
    text = SMALL | {"vocab_size": tiny.VOCABULARY, "max_position_embeddings": PLACES, "pad_token_id": 0}
    vision = SMALL | {"image_size": 16, "patch_size": 8}
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    return save_tokeniser(folder)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small CLIP with a common space of 8 dimensions, saved as its own classes save it."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(5)
    text = SMALL | {"vocab_size": tiny.VOCABULARY, "eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0}
    vision = SMALL | {"image_size": 16, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    return save_tokeniser(folder)


def task(path: str, kind: str = "hugging_face", **changes: Any) -> dict[str, Any]:
    return {"teacher": {"kind": kind, "path": path}, "samples": 9, "temperature": TAU} | changes


def distilling(built: CrossModalModel) -> Distilling:
    found = built.tasks["distil"]
    assert isinstance(found, Distilling)
    return found


def kl(teacher: np.ndarray, student: np.ndarray, tau: float) -> float:
    p, q = (np.exp(one / tau) / np.exp(one / tau).sum() for one in (teacher, student))
    return float(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))


@pytest.mark.parametrize(("cosine", "half"), [(0.0, False), (0.5, False), (0.0, True)])
def test_the_loss_is_the_formula(clip: str, cosine: float, half: bool) -> None:
    """Of the vectors, and from these on in float32 under autocast too."""
    built = tiny.model(tasks={"distil": task(clip, cosine=cosine)})
    valid = torch.tensor([True, True, False, True])
    given, texts = tiny.batch(4, valid=valid), tiny.wordpiece().decode(tiny.batch(4).caption)
    seen = tiny.encodings(built, given)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        f, e = (one.detach().double().numpy()[valid] for one in (seen.image, seen.text))
        told = distilling(built).teacher.vectors(given.image, built.query.image.encoder, texts)
        found = built(given)["distil"]
    tf, te = (one.double().numpy()[valid] for one in told)
    rows = [
        (kl(tf[n] @ te.T, f[n] @ e.T, TAU) + kl(te[n] @ tf.T, e[n] @ f.T, TAU)) / 2
        + cosine * ((1 - f[n] @ tf[n]) + (1 - e[n] @ te[n])) / 2
        for n in range(3)
    ]
    assert found.dtype == torch.float32 and found.item() == pytest.approx(np.mean(rows), rel=1e-4)


def test_the_teacher_sees_what_its_own_model_sees(clip: str) -> None:
    built = tiny.model(tasks={"distil": task(clip)})
    given, model = tiny.batch(3), CLIPModel.from_pretrained(clip).eval()
    image, _ = distilling(built).teacher.vectors(given.image, built.query.image.encoder, ["w1 w2", "w3", "w4 w5 w6"])
    mean, deviation = (torch.tensor(one).view(3, 1, 1) for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        wanted: Any = model.get_image_features(pixel_values=(given.image / 255 - mean) / deviation)
    assert torch.allclose(image, torch.nn.functional.normalize(wanted.pooler_output), atol=1e-5)


TEXTS = ["w1 w2", "w3", "w4 w5 w6 w7 w8"]


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_a_text_is_what_the_teachers_own_model_makes_of_it_alone(name: str, request: pytest.FixtureRequest) -> None:
    """CLIP takes the end token of the text, SigLIP the last place of a text padded to its whole length."""
    path = request.getfixturevalue(name)
    model: Any = AutoModel.from_pretrained(path).eval()
    teacher = HuggingFaceTeacher(kind="hugging_face", path=path, length=PLACES).load().eval()
    with torch.no_grad():
        together = teacher.text(TEXTS, torch.device("cpu"))
        for number, text in enumerate(TEXTS):
            ids = [2, *(int(word[1:]) + 5 for word in text.split()), 3]
            if name == "siglip":
                ids += [0] * (PLACES - len(ids))
            wanted = model.get_text_features(input_ids=torch.tensor([ids])).pooler_output[0]
            alone = teacher.text([text], torch.device("cpu"))[0]
            assert torch.allclose(alone, wanted, atol=1e-5) and torch.allclose(together[number], wanted, atol=1e-5)
    assert (together[0] - together[2]).norm() > 1e-3


def test_a_teacher_of_fewer_places_is_one_line(siglip: str) -> None:
    with pytest.raises(SettingsError, match="takes at most 12 tokens, not 13"):
        HuggingFaceTeacher(kind="hugging_face", path=siglip, length=PLACES + 1).load()


def test_it_ends_after_its_samples(clip: str) -> None:
    built = tiny.model(tasks={"itc": {}, "distil": task(clip)})
    optimizer = torch.optim.AdamW(built.parameters(), 1e-2)
    found = [tiny.step(built, optimizer, tiny.batch(4, step=step))["distil"] for step in range(5)]
    assert found[0] > 0 and found[2] > 0 and found[3] == found[4] == 0


def test_it_draws_the_student_to_the_teacher(clip: str) -> None:
    built = tiny.model(tasks={"itc": None, "distil": task(clip, samples=10**6)})
    optimizer = torch.optim.AdamW(built.parameters(), 1e-2)
    found = [tiny.step(built, optimizer, tiny.batch(8))["distil"] for _ in range(30)]
    assert found[-1] < 0.3 * found[0]


def test_the_teacher_is_no_part_of_the_model(clip: str) -> None:
    plain, built = tiny.model(), tiny.model(tasks={"itc": {}, "distil": task(clip)})
    assert built.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(built(tiny.batch(4))["itc"], plain(tiny.batch(4))["itc"])


def test_a_checkpoint_of_ours_teaches(tmp_path: Path) -> None:
    """A student of another shape learns from it; its own copy has nothing left to learn."""
    run = Run()
    run.model = tiny.model()
    run.optimizer = torch.optim.AdamW(run.model.parameters())
    folder = run.save(tmp_path / "teacher")
    write_recipe(folder, run.model)
    student = tiny.model(tasks={"distil": task(str(folder), "checkpoint")})
    student.load_state_dict(run.model.state_dict())
    assert abs(student(tiny.batch(4))["distil"].item()) < 1e-5
    other = tiny.model(seed=1, tasks={"distil": task(str(folder), "checkpoint")})
    assert other(tiny.batch(4))["distil"] > 0.01


def write_recipe(folder: Path, model: CrossModalModel) -> None:
    """The recipe and attributes that a checkpoint of `xmodal train` has."""
    texts = {
        "recipe.yaml": json.dumps({"model": model.settings.model_dump(mode="json"), "data": {}}),
        "attributes.json": json.dumps({"attributes": {f"a{n}": [] for n in range(tiny.ATTRIBUTES)}}),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    checkpoint._write_manifest(folder, {})


class Distilled(Run):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.model = tiny.model(tasks={"itc": {}, "distil": task(path)})
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-2)


def test_a_resumed_run_is_the_run_that_never_stopped(clip: str, tmp_path: Path) -> None:
    run = Distilled(clip).train(1)
    folder = run.save(tmp_path / "checkpoint")
    end = run.train(4).everything()
    assert differing(Distilled(clip).restore(folder).train(4).everything(), end) == []
    assert json.loads((folder / "manifest.json").read_text())["encoders"] == run.model.teachers


def test_a_resume_asks_for_the_same_teacher_and_inference_for_none(clip: str, tmp_path: Path) -> None:
    folder = Distilled(clip).train(1).save(tmp_path / "checkpoint")
    other = CLIPModel.from_pretrained(clip)
    with torch.no_grad():
        other.logit_scale.add_(1)
    other.save_pretrained(tmp_path / "other")
    for file in Path(clip).glob("*token*"):
        (tmp_path / "other" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(Damaged, match="trained on distil teacher encoder"):
        Distilled(str(tmp_path / "other")).restore(folder)
    checkpoint.load_weights(folder, Distilled("/no/such/folder").model)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"embed_dim": 12},
            "the teacher's space has 8 dimensions; make them equal, or set model.tasks.distil.cosine=0",
        ),
        ({"image": "features"}, "sees pixels, and model.image is frozen"),
    ],
)
def test_what_does_not_fit_is_one_line(clip: str, changes: dict[str, Any], line: str) -> None:
    given = tiny.batch(4)
    if changes.pop("image", None):
        config = {"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        config |= {"intermediate_size": 16, "image_size": 16, "patch_size": 8}
        changes = {"image": {"kind": "hugging_face", "config": config, "frozen": True}}
        given = tiny.batch(4, image=torch.zeros(4, 5, 8))
    built = tiny.model(tasks={"itc": {}, "distil": task(clip)}, **changes)
    with pytest.raises(SettingsError, match=line) as raised:
        built(given)
    assert "\n" not in str(raised.value)


def world_losses(path: str, split: list[list[int]]) -> Tensor:
    """Loss and gradient of one global batch as this rank sees them."""
    from torch.nn.parallel import DistributedDataParallel

    from xmodal import distributed

    built = tiny.model(tasks={"itc": None, "distil": task(path)})
    wrapped = DistributedDataParallel(built, forward_sync_buffers=False) if distributed.is_active() else built
    given = tiny.batch(5, valid=torch.tensor([True, True, True, True, False]))
    loss = wrapped(tiny.rows_of(given, torch.tensor(split[distributed.rank()])))["distil"]
    loss.backward()
    mean = distributed.sum_across(loss) / distributed.world_size()
    return torch.cat([mean[None], *(one.grad.flatten() for one in built.parameters() if one.grad is not None)])


def test_workers_change_nothing(clip: str, world: Any) -> None:
    alone = world_losses(clip, [[0, 1, 2, 3, 4]])
    for split in ([[0, 2, 4], [1, 3]], [[3, 1], [0], [2, 4]]):
        for found in world.run(len(split), world_losses, clip, split):
            assert (found - alone).norm() <= 1e-6 * max(1.0, float(alone.norm()))
