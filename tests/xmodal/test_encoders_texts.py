"""Text encoders and the texts that people have: longer than the limit, empty, of one word."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import AutoModel, BertConfig, CLIPConfig, GPT2Config, PreTrainedTokenizerFast, SiglipConfig

from tests.xmodal import clip_tokenizer, open_clip_forward, tiny
from xmodal.encoders.hugging_face_text import HuggingFaceText
from xmodal.encoders.open_clip import OpenClipText
from xmodal.encoders.transformer import Transformer
from xmodal.settings import SettingsError
from xmodal.wordpiece import SPECIAL, WordPiece

LIMIT = 6
TEXTS = ["fox " * 40, "", "fox", " \t\n ", "a red fox", "漢字 \x00 \U0001f98a"]
SMALL: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION: dict[str, Any] = {**SMALL, "image_size": 32, "patch_size": 16}
WORDS = [*SPECIAL, "</s>", "a", "red", "fox"]
PLACES = 10


def wordpiece() -> WordPiece:
    return WordPiece.train(["a red fox crosses the road", "two bears stand by the river"] * 2, 60)


def words(folder: Path, ending: str, **special: str) -> None:
    """A tokeniser of whole words; `ending` is its template of special tokens."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    named = [(word, WORDS.index(word)) for word in ("[CLS]", "[SEP]", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(ending, special_tokens=named)  # pyright: ignore
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", **special).save_pretrained(folder)


def saved(folder: Path, config: Any) -> str:
    torch.manual_seed(3)
    AutoModel.from_config(config).save_pretrained(folder)
    return str(folder)


def both(config: type[Any], **text: Any) -> Any:
    return config(
        text_config={**SMALL, "vocab_size": 200, "max_position_embeddings": PLACES, **text}, vision_config=VISION
    )


def bert(folder: Path, **settings: Any) -> Any:
    words(folder, "[CLS] $A [SEP]", pad_token="[PAD]", sep_token="[SEP]", cls_token="[CLS]")
    path = saved(folder, BertConfig(**SMALL, vocab_size=len(WORDS), max_position_embeddings=PLACES))
    return HuggingFaceText(kind="hugging_face", path=path, length=LIMIT, **settings).build(wordpiece())


def clip(folder: Path, **settings: Any) -> Any:
    end = clip_tokenizer.save(folder) - 1
    path = saved(folder, both(CLIPConfig, eos_token_id=end, bos_token_id=end - 1, pad_token_id=end))
    return HuggingFaceText(kind="hugging_face", path=path, length=LIMIT, **settings).build(wordpiece())


def siglip(folder: Path, **settings: Any) -> Any:
    words(folder, "$A </s>", pad_token="</s>", eos_token="</s>")
    path = saved(folder, both(SiglipConfig, eos_token_id=5, bos_token_id=None, pad_token_id=1))
    return HuggingFaceText(kind="hugging_face", path=path, length=LIMIT, **settings).build(wordpiece())


def without_special_tokens(folder: Path, **settings: Any) -> Any:
    words(folder, "$A", eos_token="</s>")
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=PLACES, vocab_size=len(WORDS))
    return HuggingFaceText(kind="hugging_face", path=saved(folder, config), length=LIMIT, **settings).build(wordpiece())


def open_clip(folder: Path, **settings: Any) -> Any:
    clip_tokenizer.save(folder)
    cfg = open_clip_forward.config()
    open_clip_forward.save(folder, cfg, open_clip_forward.draw(cfg))
    return OpenClipText(kind="open_clip", path=str(folder), length=LIMIT, **settings).build(wordpiece())


def drawn(folder: Path, **settings: Any) -> Any:
    config = {"model_type": "bert", **SMALL, "max_position_embeddings": PLACES}
    return HuggingFaceText(kind="hugging_face", config=config, length=LIMIT, **settings).build(wordpiece())


def transformer(folder: Path, **settings: Any) -> Any:
    return Transformer(kind="transformer", width=16, length=LIMIT).build(wordpiece())


BUILDS = [transformer, drawn, bert, clip, siglip, without_special_tokens, open_clip]
PRETRAINED = BUILDS[1:]
WITH_OWN = [clip, siglip, open_clip, bert]
Build = Callable[..., Any]


@pytest.mark.parametrize("build", BUILDS)
def test_odd_texts_have_tokens_and_no_nan(build: Build, tmp_path: Path) -> None:
    encoder = build(tmp_path)
    ids, mask = encoder.tokenize(TEXTS)
    assert ids.shape == mask.shape and ids.dtype == torch.int64 and mask[:, 0].all()
    assert int(mask.sum(1).max()) == ids.shape[1] == LIMIT
    made, _ = tokens_of(encoder, ids, mask)
    assert made.shape == (len(TEXTS), LIMIT, encoder.width) and made.isfinite().all()
    assert torch.allclose(made[1][mask[1]], made[3][mask[3]], atol=1e-6)  # white space is an empty text


@pytest.mark.parametrize("build", BUILDS)
def test_a_text_that_is_too_long_loses_its_end_and_keeps_its_end_token(build: Build, tmp_path: Path) -> None:
    encoder = build(tmp_path)
    ids, mask = encoder.tokenize(["fox " * 40, "fox"])
    ends = [int(row[valid][-1]) for row, valid in zip(ids, mask, strict=True)]
    word = int(ids[1, 0])
    assert ends == ([word, word] if build is without_special_tokens else [ends[1]] * 2)
    assert mask[0].sum() == LIMIT and (build is without_special_tokens or ends[0] not in ids[0, 1:-1])


@pytest.mark.parametrize("build", BUILDS)
def test_a_text_means_the_same_alone_and_beside_longer_ones(build: Build, tmp_path: Path) -> None:
    encoder = build(tmp_path)
    together, mask = tokens_of(encoder, *encoder.tokenize(TEXTS))
    for row, one in enumerate(TEXTS):
        alone, own = tokens_of(encoder, *encoder.tokenize([one]))
        assert torch.allclose(alone[0][own[0]], together[row][mask[row]], atol=1e-5)
    ids, mask = encoder.tokenize([])
    assert len(ids) == len(mask) == 0


@pytest.mark.parametrize("build", PRETRAINED)
def test_means_of_odd_texts(build: Build, tmp_path: Path) -> None:
    made, mask = tokens_of(encoder := build(tmp_path, pool="mean"), *encoder.tokenize(TEXTS))
    assert made.shape == (len(TEXTS), 1, encoder.width) and made.isfinite().all() and mask.all()


@pytest.mark.parametrize("build", WITH_OWN)
def test_own_embeddings_of_odd_texts(build: Build, tmp_path: Path) -> None:
    encoder = build(tmp_path, pool="own")
    made, mask = tokens_of(encoder, *encoder.tokenize(TEXTS))
    assert made.shape == (len(TEXTS), 1, encoder.width) and made.isfinite().all() and mask.all()
    alone = torch.cat([tokens_of(encoder, *encoder.tokenize([one]))[0] for one in TEXTS])
    assert torch.allclose(made, alone, atol=1e-5)
    trained = build(tmp_path, pool="own", frozen=False).eval()
    ids, mask = trained.tokenize(TEXTS)
    repeated = trained(ids, mask)
    assert repeated.shape == (*ids.shape, encoder.width) and torch.allclose(
        repeated, made.expand_as(repeated), atol=1e-5
    )
    repeated.square().sum().backward()
    assert all(value.grad is not None for value in trained.parameters() if value.requires_grad)


def test_clip_and_siglip_embed_texts_as_their_own_code_does(tmp_path: Path) -> None:
    for build, name in ((clip, "clip"), (siglip, "siglip")):
        folder = tmp_path / name
        encoder = build(folder, pool="own")
        model: Any = AutoModel.from_pretrained(folder).eval()
        given = PreTrainedTokenizerFast.from_pretrained(folder)(
            TEXTS, padding="max_length", truncation=True, max_length=LIMIT, return_tensors="pt"
        )
        inputs = dict(given) if build is clip else {"input_ids": padded(given["input_ids"], 5)}
        with torch.no_grad():
            want = model.get_text_features(input_ids=inputs["input_ids"], **masked(inputs)).pooler_output
        assert torch.allclose(tokens_of(encoder, *encoder.tokenize(TEXTS))[0][:, 0], want, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "clip"])
def test_a_model_without_a_vocabulary_is_refused(kind: str, tmp_path: Path) -> None:
    saved(tmp_path, both(CLIPConfig) if kind == "clip" else BertConfig(**SMALL, vocab_size=9))
    with pytest.raises(SettingsError, match="brings no tokeniser with a vocabulary"):
        HuggingFaceText(kind="hugging_face", path=str(tmp_path), length=LIMIT).build(wordpiece())
    clip_tokenizer.save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    cfg = open_clip_forward.config()
    open_clip_forward.save(tmp_path, cfg, open_clip_forward.draw(cfg))
    with pytest.raises(SettingsError, match="brings no tokeniser with a vocabulary"):
        OpenClipText(kind="open_clip", path=str(tmp_path)).build(wordpiece())


def masked(inputs: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in inputs.items() if name == "attention_mask"}


def padded(ids: Tensor, pad: int) -> Tensor:
    """To the model's whole length, as SigLIP's processor does."""
    return torch.nn.functional.pad(ids, [0, PLACES - ids.shape[1]], value=pad)


def tokens_of(encoder: Any, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    features, mask = encoder.features(ids, mask)
    with torch.no_grad():
        return encoder.eval()(features, mask), mask


@pytest.mark.parametrize("text", [None, "clip"])
def test_a_model_trains_on_empty_and_one_word_captions(text: str | None, tmp_path: Path) -> None:
    encoder: dict[str, Any] = (
        {} if text is None else {"text": {"kind": "hugging_face", "path": "", "pool": "own", "frozen": False}}
    )
    if text == "clip":
        clip(tmp_path)
        encoder["text"] |= {"path": str(tmp_path), "length": LIMIT}
    built = tiny.model(tasks=tiny.ALL_TASKS, **encoder)
    ids, mask = built.query.text.encoder.tokenize(["", "w3", ""])
    caption, _ = tiny.wordpiece().encode(["", "w3", ""], 8)
    given = tiny.batch(3, text=ids, text_mask=mask, caption=caption)
    losses = built(given)
    torch.stack(list(losses.values())).sum().backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(value.grad is None or value.grad.isfinite().all() for value in built.parameters())
