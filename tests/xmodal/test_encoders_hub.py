"""Models by hub id, from the hub's own cache layout, in a process that may not ask the network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from transformers import AutoModel, CLIPVisionConfig

from tests.xmodal import clip_tokenizer, open_clip_forward

REPOSITORY = Path(__file__).parents[2]
ASKED = """
import json, torch
from tests.xmodal import tiny
from xmodal.encoders.hugging_face import HuggingFaceVision
from xmodal.encoders.open_clip import OpenClipText, OpenClipVision
from xmodal.settings import SettingsError
path = "hf-hub:imageomics/small"
text = OpenClipText(kind="open_clip", path=path, pool="own").build(tiny.wordpiece())
vision = OpenClipVision(kind="open_clip", path=path, pool="own").build()
try:
    OpenClipVision(kind="open_clip", path="imageomics/absent").build()
except SettingsError as error:
    refused = str(error)
print(json.dumps({
    "text": text.features(*text.tokenize(["a red fox"]))[0].shape,
    "vision": vision.features(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).shape,
    "mean": HuggingFaceVision(kind="hugging_face", path="openai/small").mean_and_deviation()[0],
    "refused": refused,
}))
"""


def cached(home: Path, name: str) -> Path:
    """The folder of a repository's only snapshot in the cache."""
    repository = home / "hub" / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    return repository / "snapshots" / ("0" * 40)


def test_hub_ids_are_read_from_the_cache_with_their_preprocessing(tmp_path: Path) -> None:
    small, cfg = cached(tmp_path, "imageomics/small"), open_clip_forward.config()
    clip_tokenizer.save(small)
    open_clip_forward.save(small, cfg, open_clip_forward.draw(cfg))
    other = cached(tmp_path, "openai/small")
    torch.manual_seed(0)
    config = CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    AutoModel.from_config(config).save_pretrained(other)
    (other / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3]}))
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", ASKED], env=environment, cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["text"] == [1, 1, 16] and said["vision"] == [1, 1, 16]
    assert said["mean"] == [0.1, 0.2, 0.3]
    assert "'imageomics/absent' holds no open_clip_config.json, or cannot be reached" in said["refused"]
