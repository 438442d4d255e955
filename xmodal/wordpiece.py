"""WordPiece vocabulary trained on a dataset's captions, and the tokeniser over it.

Lower-cased, accents stripped, split at white space and punctuation, as BERT does (Devlin et al. 2019); the pieces are
learnt by merging frequent pairs. The `tokenizers` library does the work; what its hash order would leave open (which
rare characters are kept, the ids of continuing characters) is fixed here, so the same texts give the same vocabulary
on every machine.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(5)
FORMAT = "xmodal-wordpiece-1"


class WordPiece:
    """A vocabulary of V pieces; the first five are SPECIAL, a piece that continues a word starts with ##."""

    def __init__(self, tokens: Sequence[str]):
        if tuple(tokens[:5]) != SPECIAL or len(set(tokens)) != len(tokens):
            raise ValueError(f"a vocabulary starts with {' '.join(SPECIAL)} and holds each piece once")
        self.tokens = tuple(tokens)
        self._pieces = _pieces({token: index for index, token in enumerate(tokens)})

    @classmethod
    def train(cls, texts: Iterable[str], size: int) -> "WordPiece":
        """Learns at most `size` pieces from `texts`; fewer where the texts hold no more pairs that occur twice.

        Characters beyond the most frequent (size - 5) / 2 become [UNK]. Raises ValueError for a size below 16.
        """
        if size < 16:
            raise ValueError(f"a vocabulary of {size} pieces is too small; take at least 16")
        pieces = _pieces({})
        words = Counter(word for text in texts for word in _words(pieces, text))
        alphabet = _alphabet(words, (size - len(SPECIAL)) // 2)
        fixed = [*SPECIAL, *alphabet, *(f"##{character}" for character in alphabet)]
        trainer = trainers.WordPieceTrainer(
            vocab_size=size,
            min_frequency=2,
            special_tokens=fixed,
            limit_alphabet=len(alphabet),
            initial_alphabet=alphabet,
            show_progress=False,
        )
        pieces.train_from_iterator((word for word, count in sorted(words.items()) for _ in range(count)), trainer)
        vocabulary = pieces.get_vocab()
        return cls(sorted(vocabulary, key=vocabulary.__getitem__))

    def grown(self, texts: Iterable[str]) -> "WordPiece":
        """The same pieces, and after them what is lacking to write the words of `texts` that are [UNK]: their
        characters, each as it begins a word and as it continues one. No piece changes its id. Itself where nothing is
        lacking."""
        words = sorted({word for text in dict.fromkeys(texts) for word in _words(self._pieces, text)})
        pieces = self._pieces.encode_batch(words, add_special_tokens=False)
        unknown = [word for word, one in zip(words, pieces, strict=True) if UNK in one.ids]
        characters = sorted(set().union(*unknown))
        forms = [*characters, *(f"##{character}" for character in characters)]
        lacking = [form for form in forms if form not in set(self.tokens)]
        return WordPiece([*self.tokens, *lacking]) if lacking else self

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WordPiece) and other.tokens == self.tokens

    def __hash__(self) -> int:
        return hash(self.tokens)

    def __reduce__(self) -> tuple[type["WordPiece"], tuple[tuple[str, ...]]]:
        return WordPiece, (self.tokens,)

    def to_json(self) -> str:
        """The vocabulary as one JSON document: equal vocabularies give equal bytes."""
        return json.dumps({"format": FORMAT, "tokens": self.tokens}, ensure_ascii=True)

    @classmethod
    def from_json(cls, document: str) -> "WordPiece":
        """Raises ValueError for a document that `to_json` did not write."""
        content = json.loads(document)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"not a vocabulary of format {FORMAT}")
        return cls(content["tokens"])

    def tokenizer(self, length: int) -> Tokenizer:
        """What `encode` does, as the `tokenizers` library does it: [CLS] pieces [SEP], cut to `length`, padded to the
        longest. Its `save` writes a tokenizer.json."""
        pieces: Any = _pieces({token: index for index, token in enumerate(self.tokens)})
        pieces.post_processor = processors.TemplateProcessing(
            single=f"{SPECIAL[CLS]} $A {SPECIAL[SEP]}", special_tokens=[(SPECIAL[CLS], CLS), (SPECIAL[SEP], SEP)]
        )
        pieces.enable_truncation(length)
        pieces.enable_padding(pad_id=PAD, pad_token=SPECIAL[PAD])
        return pieces

    def encode(self, texts: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
        """(N, L) int64 ids and (N, L) bool mask of N texts; L is that of the longest, at most `length`.

        A row is [CLS] pieces [SEP] [PAD] ...; a longer text loses its end and keeps [SEP], an empty one is
        [CLS] [SEP]. Special names in a text are text. Raises ValueError for a length below 2.
        """
        if length < 2:
            raise ValueError(f"length {length} leaves no room for [CLS] and [SEP]")
        rows = [
            [CLS, *encoded.ids[: length - 2], SEP]
            for encoded in self._pieces.encode_batch(list(texts), add_special_tokens=False)
        ]
        longest = max(map(len, rows), default=2)
        ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows], dtype=torch.int64).view(-1, longest)
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        return ids, torch.arange(longest) < lengths[:, None]

    def decode(self, ids: Tensor | Sequence[Sequence[int]]) -> list[str]:
        """The texts of (N, L) ids up to their first [SEP]; special pieces are left out."""
        rows = ids.tolist() if isinstance(ids, Tensor) else ids
        return [_joined([self.tokens[i] for i in _until_sep(row) if i >= len(SPECIAL)]) for row in rows]


def _pieces(vocabulary: dict[str, int]) -> Tokenizer:
    pieces = Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIAL[UNK], max_input_chars_per_word=100))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)  # pyright: ignore[reportAttributeAccessIssue]
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # pyright: ignore[reportAttributeAccessIssue]
    return pieces


def _words(pieces: Tokenizer, text: str) -> list[str]:
    normal = pieces.normalizer.normalize_str(text)  # pyright: ignore[reportOptionalMemberAccess]
    return [word for word, _ in pieces.pre_tokenizer.pre_tokenize_str(normal)]  # pyright: ignore


def _alphabet(words: Counter[str], limit: int) -> list[str]:
    """The most frequent characters, sorted; ties go to the lower code point."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    return sorted(sorted(counts, key=lambda character: (-counts[character], character))[:limit])


def _until_sep(row: Sequence[int]) -> Sequence[int]:
    return row[: row.index(SEP)] if SEP in row else row


def _joined(pieces: list[str]) -> str:
    """Pieces as running text: continued words closed up, no space before closing punctuation or around ' and -."""
    text = " ".join(pieces).replace(" ##", "")
    text = re.sub(r" ([.,;:!?%)])", r"\1", text)
    return re.sub(r"(?<=\w) (['-]) (?=\w)", r"\1", text)
