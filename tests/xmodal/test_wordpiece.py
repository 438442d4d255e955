"""WordPiece: determinism across processes, layout of rows, round trip."""

import os
import pickle
import subprocess
import sys

import pytest
import torch

from xmodal.wordpiece import CLS, PAD, SEP, SPECIAL, UNK, WordPiece

TEXTS = [
    "A red fox crosses the road at night.",
    "Two brown bears stand beside a river",
    "A fox and a bear, seen in the daytime!",
    "No animal is visible",
    "the bears' den isn't near the fast-flowing river",
    "a running fox",
] * 3


@pytest.fixture(scope="module")
def wordpiece() -> WordPiece:
    return WordPiece.train(TEXTS, 200)


def test_special_pieces_come_first(wordpiece: WordPiece):
    assert wordpiece.tokens[:5] == SPECIAL
    assert len(wordpiece) <= 200 and len(set(wordpiece.tokens)) == len(wordpiece)
    assert "fox" in wordpiece.tokens


def test_training_is_the_same_in_every_process(wordpiece: WordPiece):
    code = "import sys; from xmodal.wordpiece import WordPiece; print(WordPiece.train(eval(sys.argv[1]), 90).to_json())"
    documents = set()
    for hash_seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code, repr(TEXTS if hash_seed == "0" else TEXTS[::-1])]
        documents.add(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
    assert documents == {WordPiece.train(TEXTS, 90).to_json() + "\n"}


def test_characters_of_equal_count_are_cut_by_code_point():
    rare = WordPiece.train(["abcdefghijklmnopqrstuvwxyz" * 2], 17)
    assert [token for token in rare.tokens[5:] if not token.startswith("##")] == list("abcdef")


def test_rows_are_laid_out_for_a_transformer(wordpiece: WordPiece):
    ids, mask = wordpiece.encode(["a fox", "", "a red fox crosses the road at night."], 32)
    assert ids.dtype == torch.int64 and mask.dtype == torch.bool
    assert (ids[:, 0] == CLS).all()
    assert ids[1].tolist() == [CLS, SEP] + [PAD] * (ids.shape[1] - 2)
    assert ((ids == SEP).sum(1) == 1).all() and (ids.gather(1, mask.sum(1, keepdim=True) - 1) == SEP).all()
    assert torch.equal(mask, ids != PAD) and mask[2].all()


def test_a_long_text_keeps_its_sep(wordpiece: WordPiece):
    ids, mask = wordpiece.encode([TEXTS[0] * 50], 9)
    assert ids.shape == (1, 9) and ids[0, -1] == SEP and mask.all()
    assert wordpiece.encode(["fox fox"], 2)[0].tolist() == [[CLS, SEP]]
    with pytest.raises(ValueError, match="no room"):
        wordpiece.encode(["fox"], 1)


def test_no_texts_give_no_rows(wordpiece: WordPiece):
    ids, mask = wordpiece.encode([], 16)
    assert ids.shape == mask.shape == (0, 2)


def test_decode_gives_the_text_back(wordpiece: WordPiece):
    texts = [
        "a red fox crosses the road at night.",
        "a fox and a bear, seen in the daytime!",
        "the bears' den isn't near the fast-flowing river",
    ]
    ids, _ = wordpiece.encode(texts, 64)
    assert wordpiece.decode(ids)[:2] == texts[:2]
    assert wordpiece.decode(ids)[2].replace("' ", "'").replace(" '", "'") == texts[2].replace("' ", "'")
    assert wordpiece.decode([[CLS, SEP], [CLS, wordpiece.tokens.index("fox"), SEP, 9, 9], []]) == ["", "fox", ""]


def test_special_names_in_a_text_are_text(wordpiece: WordPiece):
    ids, _ = wordpiece.encode(["[PAD] [SEP] [CLS] [MASK]"], 64)
    assert PAD not in ids and (ids == SEP).sum() == 1 and (ids == CLS).sum() == 1


def test_unknown_characters_are_unk_and_accents_fold(wordpiece: WordPiece):
    assert wordpiece.encode(["狐"], 8)[0].tolist() == [[CLS, UNK, SEP]]
    assert wordpiece.encode(["FÓX"], 8)[0].tolist() == wordpiece.encode(["fox"], 8)[0].tolist()


def test_json_and_pickle_round_trip(wordpiece: WordPiece):
    assert WordPiece.from_json(wordpiece.to_json()) == wordpiece == pickle.loads(pickle.dumps(wordpiece))
    with pytest.raises(ValueError, match="not a vocabulary"):
        WordPiece.from_json('{"tokens": []}')
    with pytest.raises(ValueError, match="starts with"):
        WordPiece(["fox"])


def test_few_or_no_texts_still_give_a_vocabulary():
    assert WordPiece.train([], 100).tokens == SPECIAL
    assert WordPiece.train(["fox"], 100).encode(["fox"], 8)[0].shape == (1, 5)
    with pytest.raises(ValueError, match="too small"):
        WordPiece.train([], 4)


def test_it_grows_by_the_characters_it_lacks_at_its_end(wordpiece: WordPiece):
    assert wordpiece.grown(TEXTS) is wordpiece
    ids, mask = wordpiece.encode(["a lynx Σ"], 16)
    grown = wordpiece.grown(["a lynx Σ", "Σσ"])
    assert mask.all() and UNK in ids and grown.tokens[: len(wordpiece)] == wordpiece.tokens
    added = set(grown.tokens[len(wordpiece) :])
    assert added >= {"σ", "##σ"} and all(len(one.removeprefix("##")) == 1 for one in added)
    assert UNK not in grown.encode(["a lynx Σ"], 16)[0] and grown.grown(["Σ a"]) is grown
    before, _ = wordpiece.encode(TEXTS[:3], 16)
    after, _ = grown.encode(TEXTS[:3], 16)
    assert before.equal(after)
