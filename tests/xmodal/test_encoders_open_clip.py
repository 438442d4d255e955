"""open_clip models against a slow forward written from open_clip's published code, and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.xmodal import clip_tokenizer, tiny
from tests.xmodal import open_clip_forward as published
from xmodal.encoders.open_clip import OpenClipText, OpenClipVision
from xmodal.settings import SettingsError

WRITTEN = Path(__file__).with_name("open_clip_3_3_0")
TEXTS = ["a red fox", "fox", "", "red fox red fox red fox red fox red fox", "<b>fox!</b>"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model in open_clip's layout, with a tokeniser."""
    written(tmp_path, published.config())
    return tmp_path


def written(folder: Path, cfg: dict[str, Any], pickled: bool = False) -> dict[str, Tensor]:
    state = published.draw(cfg)
    clip_tokenizer.save(folder)
    published.save(folder, cfg, state, pickled)
    return state


def vision(folder: Path, **settings: Any) -> Any:
    return OpenClipVision(kind="open_clip", path=str(folder), **settings).build()


def text(folder: Path, **settings: Any) -> Any:
    return OpenClipText(kind="open_clip", path=str(folder), **settings).build(tiny.wordpiece())


def pixels() -> Tensor:
    return torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("quick_gelu", [False, True])
@pytest.mark.parametrize("pickled", [False, True])
def test_own_embeddings_are_those_of_open_clip(tmp_path: Path, quick_gelu: bool, pickled: bool) -> None:
    cfg = published.config(quick_gelu=quick_gelu)
    state = written(tmp_path, cfg, pickled)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (published.MEAN, published.STD))
    want = published.encode_image(cfg, state, (pixels() / 255 - mean) / std)
    made = vision(tmp_path, pool="own").features(pixels())
    assert made.shape == (3, 1, 16)
    torch.testing.assert_close(made[:, 0], want, atol=1e-5, rtol=1e-5)
    encoder = text(tmp_path, pool="own")
    ids, mask = encoder.tokenize(TEXTS)
    want = published.encode_text(cfg, state, [row[valid].tolist() for row, valid in zip(ids, mask, strict=True)])
    made, one = encoder.features(ids, mask)
    assert made.shape == (len(TEXTS), 1, 16) and one.all()
    torch.testing.assert_close(made[:, 0], want, atol=1e-5, rtol=1e-5)


def test_files_that_open_clip_itself_wrote_give_what_it_made_of_them(tmp_path: Path) -> None:
    """Of version 3.3.0: `tests/xmodal/open_clip_written.py`."""
    shutil.copytree(WRITTEN, tmp_path, dirs_exist_ok=True)
    clip_tokenizer.save(tmp_path)
    made = load_file(tmp_path / "made_of_them.safetensors")
    found = vision(tmp_path, pool="own").features(made["pixels"])[:, 0]
    torch.testing.assert_close(found, made["image"], atol=1e-5, rtol=1e-5)
    mask = torch.arange(12) <= made["ids"].argmax(1)[:, None]
    found, _ = text(tmp_path, pool="own").features(made["ids"], mask)
    torch.testing.assert_close(found[:, 0], made["text"], atol=1e-5, rtol=1e-5)


def test_a_custom_text_model_of_plain_transformers_is_the_same(folder: Path, tmp_path_factory: Any) -> None:
    cfg = published.config(custom_text=True, init_logit_bias=-10.0)
    of_text = ("token_embedding", "positional_embedding", "text_projection", "ln_final", "transformer")
    state = {
        (f"text.{name}" if name.startswith(of_text) else name): value for name, value in published.draw(cfg).items()
    }
    other = tmp_path_factory.mktemp("custom")
    clip_tokenizer.save(other)
    published.save(other, cfg, state)
    ids, mask = text(folder).tokenize(TEXTS)
    assert torch.equal(text(other).features(ids, mask)[0], text(folder).features(ids, mask)[0])


def test_tokens_and_their_mean(folder: Path) -> None:
    tokens = vision(folder).features(pixels())
    assert tokens.shape == (3, 17, 32) and vision(folder).width == 32
    assert torch.allclose(vision(folder, pool="mean").features(pixels()), tokens.mean(1, keepdim=True), atol=1e-6)
    encoder = text(folder)
    ids, mask = encoder.tokenize(TEXTS)
    made, same = encoder.features(ids, mask)
    assert made.shape == (*ids.shape, 24) and torch.equal(mask, same) and (made[~mask] == 0).all()
    assert torch.allclose(text(folder, pool="mean").features(ids, mask)[0][1, 0], made[1, mask[1]].mean(0), atol=1e-6)


def test_a_trained_tower_starts_from_the_weights_and_gets_gradients(folder: Path) -> None:
    trained = vision(folder, pool="own", frozen=False)
    assert torch.allclose(trained.eval()(pixels()), vision(folder, pool="own").features(pixels()), atol=1e-6)
    words = text(folder, pool="own", frozen=False).eval()
    ids, mask = words.tokenize(TEXTS)
    made = words(ids, mask)
    frozen = text(folder, pool="own").features(ids, mask)[0]
    assert made.shape == (*ids.shape, 16) and torch.allclose(made, frozen.expand_as(made), atol=1e-6)
    (trained(pixels()).square().sum() + made.square().sum()).backward()
    for tower in (trained, words):
        assert all(value.grad is not None for value in tower.parameters() if value.requires_grad)


def test_an_untrained_model_with_the_identity_head_is_the_pretrained_one(folder: Path) -> None:
    encoder = {"kind": "open_clip", "path": str(folder), "pool": "own"}
    built = tiny.model(embed_dim=16, head={"kind": "identity"}, image=encoder, text=encoder).eval()
    image = built.encode_image(built.image_features(pixels()))
    words = built.encode_text(*built.text_features(TEXTS))
    cfg, state = published.config(), published.draw(published.config())
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (published.MEAN, published.STD))
    ids, mask = text(folder).tokenize(TEXTS)
    rows = [row[valid].tolist() for row, valid in zip(ids, mask, strict=True)]
    want = torch.nn.functional.cosine_similarity(
        published.encode_image(cfg, state, (pixels() / 255 - mean) / std)[:, None],
        published.encode_text(cfg, state, rows)[None],
        dim=-1,
    )
    torch.testing.assert_close(image @ words.T, want, atol=1e-5, rtol=1e-5)
    with pytest.raises(SettingsError, match="kind identity needs embed_dim 16 as the encoder has, not 8"):
        tiny.model(embed_dim=8, head={"kind": "identity"}, image=encoder, text=encoder)


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("vision_cfg", {"timm_model_name": "vit_base_patch16_siglip_224"}, "vision_cfg.timm_model_name 'vit_base"),
        ("vision_cfg", {"layers": [3, 4, 6, 3]}, "vision_cfg.layers [3, 4, 6, 3] is not supported"),
        ("vision_cfg", {"pool_type": "avg"}, "vision_cfg.pool_type 'avg' is not supported"),
        ("vision_cfg", {"attentional_pool": True}, "vision_cfg.attentional_pool True is not supported"),
        ("text_cfg", {"hf_model_name": "roberta-base"}, "text_cfg.hf_model_name 'roberta-base' is not supported"),
        ("text_cfg", {"no_causal_mask": True}, "text_cfg.no_causal_mask True is not supported"),
        ("text_cfg", {"norm_kwargs": {"elementwise": 1}}, "text_cfg.norm_kwargs.elementwise 1 is not supported"),
        ("text_cfg", {"pool_type": "eos"}, "text_cfg.eos_id 2 with pool_type eos"),
        ("text_cfg", {"something_new": 1}, "text_cfg.something_new 1 is not supported"),
    ],
)
def test_what_is_no_plain_clip_is_refused_by_name(folder: Path, part: str, changes: Any, said: str) -> None:
    cfg = published.config()
    published.save(folder, cfg | {part: cfg[part] | changes}, published.draw(cfg))
    with pytest.raises(SettingsError) as caught:
        vision(folder)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_missing_or_damaged_is_one_line(folder: Path, tmp_path_factory: Any) -> None:
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(SettingsError, match=r"holds no open_clip_config\.json"):
        vision(empty)
    for document, said in [
        ("{}", "model_cfg is missing"),
        ("{", "not valid JSON"),
        ("[]", "model_cfg .* not supported"),
    ]:
        (empty / "open_clip_config.json").write_text(document)
        with pytest.raises(SettingsError, match=said):
            vision(empty)
    published.save(empty, published.config(), published.draw(published.config()))
    with pytest.raises(SettingsError, match=r"brings no tokeniser .* openai/clip-vit-large-patch14"):
        text(empty)
    ids, _ = text(empty, tokenizer=str(folder)).tokenize(TEXTS)
    assert torch.equal(ids, text(folder).tokenize(TEXTS)[0])
    with pytest.raises(SettingsError, match="takes at most 12 tokens, not 13"):
        text(folder, length=13)
    smaller = published.config()
    smaller["text_cfg"] = smaller["text_cfg"] | {"vocab_size": 100}
    published.save(empty, smaller, published.draw(smaller))
    with pytest.raises(SettingsError, match=r"has 194 pieces, the model .* takes 100"):
        text(empty, tokenizer=str(folder))
    published.save(empty, published.config(embed_dim=20), published.draw(published.config()))
    with pytest.raises(SettingsError, match=r"do not fit its open_clip_config\.json: size mismatch"):
        vision(empty, pool="own").features(pixels())
    (empty / "open_clip_model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(SettingsError, match="is damaged, or holds more than tensors"):
        vision(empty).features(pixels())
    (empty / "open_clip_model.safetensors").unlink()
    with pytest.raises(SettingsError, match="holds no weights of open_clip; looked for"):
        vision(empty).features(pixels())


class Opened:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("run by a pickle",)


def test_a_pickle_that_holds_more_than_tensors_is_not_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": {}, "extra": Opened()}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(SettingsError, match="is damaged, or holds more than tensors"):
        vision(folder).features(pixels())
    assert "run by a pickle" not in capsys.readouterr().out


def test_identity_is_of_weights_and_settings_not_of_the_folder(folder: Path, tmp_path_factory: Any) -> None:
    other = tmp_path_factory.mktemp("other")
    written(other, published.config(), pickled=True)
    assert vision(other).identity() == vision(folder).identity() != vision(folder, pool="own").identity()
    assert text(other).identity() == text(folder).identity() != text(folder, length=8).identity()
