"""Training data from shards: tokenised once, read lazily, the same for whoever draws it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.model.micro import micro_tokenizer

from polite_flamingo.errors import ConfigError, DataError
from polite_flamingo.io.shards import write_shards
from polite_flamingo.model.tokens import SYSTEM, piece, place_images
from polite_flamingo.prompts.templates import BOX_SENTENCE
from polite_flamingo.records import Image, Rewrite, RewritePair, Sample, Task, Turn
from polite_flamingo.train import store
from polite_flamingo.train.data import IGNORED, Example, as_training_data
from polite_flamingo.train.dialogue import encode_samples
from polite_flamingo.train.mixture import StageData, samples_of
from polite_flamingo.train.pairs import PairData, pair_example
from polite_flamingo.train.settings import DialogueSettings, TuneCommon, ValidationSettings
from polite_flamingo.train.store import TokenStore, cached, token_key

BOTH = {"instruction": 1.0, "pf1m": 1.0}


@pytest.fixture(scope="module")
def tokenizer():
    made = micro_tokenizer()
    made.add_tokens(["<|endofchunk|>", "<image>"], special_tokens=True)
    made.add_special_tokens({"pad_token": "<PAD>"})
    return made


def instruction(index: int) -> Sample:
    turns = (Turn("human", "what is there ?", (0,)), Turn("assistant", "a star " * (index % 7 + 1)))
    return Sample(f"i{index}", "llava", "train", "x", Task.DETAIL, turns, (Image(f"{index}.png"),))


def rewrite(index: int, answer: str = "It is red.", **extras: str) -> Rewrite:
    source = "large" if index % 10 else "small"
    raw = f"red\n\n{BOX_SENTENCE}\nstar: [0.1, 0.1, 0.2, 0.2]" if index % 2 else "red"
    return Rewrite(f"r{index}", source, "train", "x", Task.VQA, "q ?", (), raw, answer, "stop", extras)


@pytest.fixture
def shards(tmp_path: Path) -> tuple[Path, Path]:
    write_shards(tmp_path / "instruction", [instruction(i).to_row() for i in range(40)])
    kept = [*(rewrite(i) for i in range(60)), rewrite(98, probe="answer_changed"), rewrite(99, answer=" ")]
    write_shards(tmp_path / "kept", [r.to_row() for r in kept])
    return tmp_path / "instruction", tmp_path / "kept"


def stage(tokenizer, shards, mixture=BOTH, **changes) -> StageData:
    values = {"seed": 1, "context_length": 200, "max_turns": 6, "max_images": 4, "mode": "pack", **changes}
    common = TuneCommon(
        multiturn=DialogueSettings.of(**{name: values[name] for name in ("mode", "max_turns")}),
        mixing=values.get("mixing", "ratio"),
        validation=ValidationSettings(share=values.get("validation_share", 0.0)),
    )
    return StageData.from_shards(
        tokenizer,
        *shards,
        mixture,
        common=common,
        context_length=values["context_length"],
        max_images=values["max_images"],
        seed=values["seed"],
        cache=shards[0].parent / "cache",
    )


def ids(examples) -> list[str]:
    return [name for example in examples for name in example.id.split("+")]


def test_probes_and_empty_answers_are_never_trained_on_and_raw_keeps_the_same_records_less_boxes(shards):
    pf1m, raw = ({s.id: s.response for s in samples_of(part, *shards)} for part in ("pf1m", "raw"))
    assert pf1m == {f"r{i}": "It is red." for i in range(60)}
    assert raw == {**{f"r{i}": "red" for i in range(60)}, "r99": "red"}


@pytest.mark.parametrize("mode", ["pack", "fit"])
def test_an_epoch_holds_every_sample_once_and_knows_its_lengths(tokenizer, shards, mode):
    examples = stage(tokenizer, shards, mode=mode).epoch(0)
    assert sorted(ids(examples)) == sorted([f"i{i}" for i in range(40)] + [f"r{i}" for i in range(60)])
    assert [len(example) for example in examples] == examples.lengths.tolist()
    assert examples[0] == examples[-len(examples)] == next(iter(examples))
    with pytest.raises(IndexError):
        examples[len(examples)]


@pytest.mark.parametrize("mode", ["paper", "pack", "fit"])
def test_each_image_stands_where_its_sample_stands(tokenizer, shards, mode):
    media = tokenizer.convert_tokens_to_ids("<image>")
    for example in stage(tokenizer, shards, mode=mode).epoch(0):
        assert example.input_ids.count(media) == len(example.images)
        assert [f"{name[1:]}.png" for name in example.id.split("+") if name[0] == "i"] == list(example.images)


def test_in_the_paper_every_sample_opens_one_dialogue_per_epoch_and_says_hello_once(tokenizer, shards):
    system, end = tuple(piece(tokenizer, SYSTEM)), tokenizer.eos_token_id
    examples = list(stage(tokenizer, shards, mode="paper").epoch(0))
    openers = sorted(example.id.split("+")[0] for example in examples)
    assert openers == sorted([f"i{i}" for i in range(40)] + [f"r{i}" for i in range(60)])
    assert len(ids(examples)) > 2 * len(examples), "draws fill what would be padding"
    for example in examples:
        text = example.input_ids
        starts = [i for i in range(len(text)) if text[i : i + len(system)] == system]
        assert len(starts) == 1, "no system message on later turns"
        answers = example.id.count("+") + 1
        assert sum(label == end for label in example.labels) == answers, "every answer ends, and learns to"
        for position, (token, label) in enumerate(zip(text, example.labels, strict=True)):
            assert label in (IGNORED, token)
            if token == end and position + 1 < len(text):
                assert example.labels[position + 1] == IGNORED, "no human turn is learned"


@pytest.mark.parametrize("mode", ["paper", "pack"])
def test_epochs_are_a_function_of_seed_and_epoch_whatever_was_drawn_before(tokenizer, shards, mode):
    first, second = stage(tokenizer, shards, mode=mode), stage(tokenizer, shards, mode=mode)
    list(first.epoch(0)), list(first.epoch(1))
    assert list(first.epoch(2)) == list(second.epoch(2))
    assert ids(first.epoch(2)) != ids(first.epoch(1))
    assert ids(stage(tokenizer, shards, mode=mode, seed=2).epoch(0)) != ids(first.epoch(0))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"context_length": 100},
        {"max_turns": 5},
        {"max_images": 1},
        {"mode": "fit"},
        {"mode": "paper"},
        {"mixing": "sqrt"},
        {"validation_share": 0.1},
        {"mixture": {"instruction": 1.0}},
        {"mixture": {"instruction": 1.0, "pf1m": 0.5}},
    ],
)
def test_the_identity_tells_every_setting_apart(tokenizer, shards, change):
    assert stage(tokenizer, shards).identity == stage(tokenizer, shards).identity
    assert stage(tokenizer, shards, **change).identity != stage(tokenizer, shards).identity


def test_the_identity_tells_texts_and_tokenizers_apart(tokenizer, shards):
    before = stage(tokenizer, shards).identity
    other = micro_tokenizer()
    other.add_tokens(["<|endofchunk|>", "<image>", "new"], special_tokens=True)
    assert stage(other, shards).identity != before
    write_shards(shards[1], [rewrite(i, answer="It is blue.").to_row() for i in range(60)])
    assert stage(tokenizer, shards).identity != before


def test_square_root_mixing_draws_as_much_but_more_of_the_small_data_set(tokenizer, shards):
    def sources(mixing) -> Counter[str]:
        found = ids(stage(tokenizer, shards, {"pf1m": 1.0}, mixing=mixing).epoch(0))
        return Counter("small" if int(name[1:]) % 10 == 0 else "large" for name in found)

    assert sources("ratio") == {"small": 6, "large": 54}
    assert sources("sqrt") == {"small": 15, "large": 45}  # 1 to the square root of 9


def test_validation_samples_are_never_drawn(tokenizer, shards):
    data = stage(tokenizer, shards, validation_share=0.1)
    held = ids(data.validation)
    assert Counter(name[0] for name in held) == {"i": 4, "r": 6}
    assert all(not set(held) & set(ids(data.epoch(e))) for e in range(3))
    assert len(set(ids(data.epoch(0)))) == 90


def test_an_empty_part_and_an_unknown_part_say_so(tokenizer, shards, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'pf1m'"):
        stage(tokenizer, shards, {"pf2m": 1.0})
    write_shards(tmp_path / "none", [])
    with pytest.raises(DataError, match="no samples"):
        stage(tokenizer, (shards[0], tmp_path / "none"))


def test_samples_are_tokenised_once(tokenizer, shards, monkeypatch):
    list(stage(tokenizer, shards).epoch(0))

    def never(*_: object) -> None:
        raise AssertionError("tokenised again")

    monkeypatch.setattr("polite_flamingo.train.mixture.encode_samples", never)
    list(stage(tokenizer, shards, seed=7, mode="fit").epoch(3))


def test_a_stored_segment_equals_the_encoded_one(tokenizer, tmp_path):
    made = encode_samples(tokenizer, [instruction(i) for i in range(store.ROWS + 5)])
    kept = TokenStore.write(tmp_path / "x.arrow", made)
    assert len(kept) == len(made)
    assert [kept.segment(i) for i in (0, store.ROWS - 1, store.ROWS, len(made) - 1)] == [
        made[0],
        made[store.ROWS - 1],
        made[store.ROWS],
        made[-1],
    ]
    first = [next(i for i, label in enumerate(s.labels) if label != IGNORED) for s in made]
    assert kept.shapes.first_learned.tolist() == first
    assert kept.shapes.lengths.tolist() == [len(s.input_ids) for s in made]


def test_the_key_does_not_depend_on_what_the_tokenizer_did_before(tokenizer):
    before = token_key(tokenizer, "x")
    tokenizer(["a", "a star"], padding=True, truncation=True, max_length=3)
    assert token_key(tokenizer, "x") == before
    assert token_key(tokenizer, "y") != before


def test_a_model_that_looks_at_the_image_after_the_text_has_tokens_of_its_own_and_no_best_fit(shards):
    def old(last: bool):
        made = micro_tokenizer()
        made.add_tokens(["<|endofchunk|>", "<image>"], special_tokens=True)
        place_images(made, last=last)
        return made

    assert token_key(old(True), "x") != token_key(old(False), "x")
    assert len(stage(old(True), shards, mode="paper").epoch(0))
    with pytest.raises(ConfigError, match="use paper"):
        stage(old(True), shards, mode="fit")


def test_a_damaged_token_file_is_a_clear_error(tmp_path):
    (tmp_path / "x.arrow").write_bytes(b"ARROW1 half")
    with pytest.raises(DataError, match="delete the file"):
        TokenStore(tmp_path / "x.arrow")


def test_a_tokenisation_cut_short_leaves_nothing_behind(tokenizer, tmp_path):
    def broken():
        yield from encode_samples(tokenizer, [instruction(0)])
        raise DataError("row is broken")

    with pytest.raises(DataError, match="row is broken"):
        cached(tmp_path, "k", broken)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_token_file_with_a_flipped_bit_is_made_again(tokenizer, tmp_path):
    (segment,) = encode_samples(tokenizer, [instruction(0)])
    path = cached(tmp_path, "k", lambda: [segment]).path
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 20):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert cached(tmp_path, "k", lambda: [segment]).path == path
        assert path.read_bytes() == whole


def test_only_a_few_token_files_stay(tokenizer, tmp_path):
    (segment,) = encode_samples(tokenizer, [instruction(0)])
    for index in range(store.KEPT_FILES + 3):
        path = cached(tmp_path, f"k{index}", lambda: [segment]).path
        assert path.is_file()
        os.utime(path, (4e9 + index, 4e9 + index))  # of a clock that has gone back since
    assert {path.stem.partition("-")[0] for path in tmp_path.glob("*.arrow")} == {
        f"k{i}" for i in range(3, store.KEPT_FILES + 3)
    }


def test_pairs_are_read_lazily_in_their_order_and_too_long_ones_are_counted(tokenizer, tmp_path):
    pairs = [
        RewritePair(f"p{i}", "s", "t", split, Task.VQA, "what ?", (Image("a.png"),), "red", "red " * 20, "x", "", 0)
        for i, split in enumerate(["train", "held_out", "train"])
    ]
    write_shards(tmp_path / "pairs", [pair.to_row() for pair in pairs])

    def data(length: int) -> PairData:
        return PairData.from_shards(
            tokenizer, tmp_path / "pairs", split="train", context_length=length, cache=tmp_path / "cache"
        )

    assert list(data(500).epoch(4)) == [pair_example(tokenizer, pair, 500) for pair in (pairs[0], pairs[2])]
    assert (len(data(10).epoch(0)), data(10).epoch(0).skipped) == (0, 2)
    assert data(500).identity != data(10).identity
    with pytest.raises(DataError, match="no pairs"):
        PairData.from_shards(tokenizer, tmp_path / "pairs", split="x", context_length=9, cache=tmp_path / "cache")


def test_a_list_of_examples_is_training_data():
    examples = [Example("a", (1, 2), (1, 2)), Example("b", (1,), (1,))]
    data = as_training_data(examples)
    assert list(data.epoch(5)) == examples
    assert data.epoch(0).lengths.tolist() == [2, 1]
    assert data.epoch(0)[:1] == examples[:1]
    assert data.identity != as_training_data(examples[:1]).identity


PEAK = """
import resource, sys
from pathlib import Path
from polite_flamingo.train.dialogue import PackedExamples, Packer, Samples
from polite_flamingo.train.multiturn import DialogueLimits
from polite_flamingo.train.store import Segment, TokenStore

def made(count):
    for i in range(count):
        ids = tuple(range(i % 50, i % 50 + 300))
        yield Segment(f"a/{i}", ids, ids, (f"{i}.png",), 1, "s", True)

TokenStore.write(Path(sys.argv[1]), made(2000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store = TokenStore.write(Path(sys.argv[1]), made(20_000))
limits = DialogueLimits(1024, 32, 16, 30, 1)
samples = Samples({"s": store})
examples = PackedExamples(samples, range(len(samples)), Packer("fit", limits, tuple(range(30)), (1,), 9))
assert len(examples[len(examples) - 1].input_ids) == examples.lengths[-1]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_holds_a_few_bytes_per_sample(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "x.arrow")], capture_output=True, text=True, check=True
    )
    grown = int(done.stdout)  # KiB; 20,000 samples of 300 tokens are 23 MiB as int32 and 100 MiB as Python tuples
    assert grown < 16 * 1024
