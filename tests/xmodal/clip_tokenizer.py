"""A tiny byte-pair tokeniser of CLIP's kind, written as files that open_clip and Hugging Face repositories carry."""

from pathlib import Path
from typing import Any

START, END = "<|startoftext|>", "<|endoftext|>"
MERGES: list[Any] = [("f", "o"), ("fo", "x</w>"), ("r", "e"), ("re", "d</w>")]


def save(folder: Path) -> int:
    """Writes the tokeniser's files; the number of pieces, [END] the last of them."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    pieces = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in MERGES), START, END]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    CLIPTokenizer(vocab=vocabulary, merges=MERGES, model_max_length=77).save_pretrained(folder)
    return len(pieces)
