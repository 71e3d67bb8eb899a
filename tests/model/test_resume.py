"""An unfinished training goes on exactly, refuses a change, and says what is wrong with its checkpoint."""

from __future__ import annotations

import json
import shutil
from random import Random

import pytest
import torch

from polite_flamingo.errors import BusyError, ModelError
from polite_flamingo.model.flamingo import load_flamingo
from polite_flamingo.model.freezing import set_trainable, trainable_tensors
from polite_flamingo.model.lora import inject_lora
from polite_flamingo.model.settings import LoraSettings
from polite_flamingo.tracking.base import NullTracker
from polite_flamingo.train.data import Example
from polite_flamingo.train.loop import train
from polite_flamingo.train.resume import Unfinished, single_writer
from polite_flamingo.train.settings import TrainingRun, TrainSettings, ValidationSettings

SETTINGS = TrainSettings(
    learning_rate=3e-3,
    epochs=4,
    global_batch_size=4,
    warmup_steps=2,
    validation=ValidationSettings(every=2),
    checkpoint_seconds=0.0,
)


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the program may catch it."""


@pytest.fixture
def fresh(micro_flamingo_folder):
    def make():
        made = load_flamingo(micro_flamingo_folder)
        inject_lora(made, LoraSettings(r=4, alpha=4, dropout=0.2))
        set_trainable(made, ["lora", "xattn"])
        return made

    return make


def examples(bundle) -> list[Example]:
    made = []
    for index, word in enumerate(["red", "blue", "green", "red", "blue", "green", "red", "blue", "star"]):
        text = f"<image><|endofchunk|>what color is the star ? {word}</s>"
        ids = tuple(bundle.tokenizer(text, add_special_tokens=False).input_ids)
        made.append(Example(f"e{index}", ids, (-100,) * (len(ids) - 3) + ids[-3:], (f"{index % 6}.png",)))
    return made


def run(bundle, image_root, folder, settings=SETTINGS, data=None):
    made = examples(bundle)
    return train(
        bundle,
        made[:8] if data is None else data,
        settings,
        TrainingRun("t", image_root, folder / "report", NullTracker(), work_root=folder / "work"),
        validation=made[6:],
    )


def run_until(step, monkeypatch, bundle, image_root, folder, settings=SETTINGS):
    """Die right after the checkpoint of `step`."""
    saved = Unfinished.save

    def save_then_die(self, learner, state):
        saved(self, learner, state)
        if state.step == step:
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Unfinished, "save", save_then_die)
        run(bundle, image_root, folder, settings)


def weights(bundle):
    return {name: tensor.detach().clone() for name, tensor in trainable_tensors(bundle).items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def test_a_killed_run_goes_on_to_the_same_bits(fresh, image_root, tmp_path, monkeypatch):
    whole = fresh()
    straight = run(whole, image_root, tmp_path / "straight")
    picture = (tmp_path / "straight" / "report" / "loss.png").read_bytes()
    for step in (1, 5, 7):
        again, folder = fresh(), tmp_path / f"killed_at_{step}"
        run_until(step, monkeypatch, fresh(), image_root, folder)
        resumed = run(again, image_root, folder)
        assert resumed.resumed_from == step
        assert resumed.losses == straight.losses, step
        assert resumed.validation == straight.validation, step
        assert equal(weights(again), weights(whole)), step
        assert (folder / "report" / "loss.png").read_bytes() == picture, step


def test_a_run_killed_while_it_waits_for_a_better_loss_stops_at_the_same_step(fresh, image_root, tmp_path, monkeypatch):
    settings = TrainSettings.of(
        SETTINGS, learning_rate=0.2, epochs=10, validation=ValidationSettings(every=1, patience=3)
    )
    whole, again = fresh(), fresh()
    straight = run(whole, image_root, tmp_path / "straight", settings)
    assert straight.steps < 20
    run_until(straight.steps - 1, monkeypatch, fresh(), image_root, tmp_path / "killed", settings)
    resumed = run(again, image_root, tmp_path / "killed", settings)
    assert (resumed.steps, resumed.best_step) == (straight.steps, straight.best_step)
    assert equal(weights(again), weights(whole))


def test_a_change_is_refused_with_both_values_and_the_run_goes_on_without_it(fresh, image_root, tmp_path, monkeypatch):
    run_until(3, monkeypatch, fresh(), image_root, tmp_path)

    def refusal(bundle, **arguments) -> ModelError:
        with pytest.raises(ModelError, match="step 3 of 8") as caught:
            run(bundle, image_root, tmp_path, **arguments)
        assert "rm -r" in caught.value.next_step
        return caught.value

    for change, named in (
        ({"learning_rate": 1e-3}, "learning_rate"),
        ({"epochs": 8}, "steps"),
        ({"seed": 1}, "seed"),
        ({"bf16": True}, "bf16"),
    ):
        assert "->" in refusal(fresh(), settings=TrainSettings.of(SETTINGS, **change)).value[named]
    assert list(refusal(fresh(), data=examples(fresh())[1:9]).value) == ["data"]
    other = fresh()
    with torch.no_grad():
        next(iter(trainable_tensors(other).values())).add_(1)
    assert list(refusal(other).value) == ["start weights"]
    other = fresh()
    other.resolution = 16
    assert refusal(other).value == {"resolution": "None -> 16"}
    # a micro-batch of another size is the machine's affair
    assert run(fresh(), image_root, tmp_path, TrainSettings.of(SETTINGS, micro_batch_size=2)).resumed_from == 3


def test_a_refused_run_can_be_discarded(fresh, image_root, tmp_path, monkeypatch):
    run_until(3, monkeypatch, fresh(), image_root, tmp_path)
    shutil.rmtree(tmp_path / "work" / "t" / "unfinished")
    assert run(fresh(), image_root, tmp_path, TrainSettings.of(SETTINGS, seed=1)).resumed_from == 0


def test_a_checkpoint_counts_only_once_it_is_whole(fresh, image_root, tmp_path, monkeypatch):

    saved = Unfinished.save
    written = []

    def die_halfway(self, learner, state):
        if state.step == 4:
            learner.save_optimizer = lambda folder: (_ for _ in ()).throw(Killed())
        saved(self, learner, state)
        written.append(state.step)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Unfinished, "save", die_halfway)
        run(fresh(), image_root, tmp_path)
    assert written == [1, 2, 3]
    assert (tmp_path / "work" / "t" / "unfinished" / "step-00000004").is_dir()
    assert run(fresh(), image_root, tmp_path).resumed_from == 3


def test_a_bit_flipped_anywhere_in_an_unfinished_training_is_seen(fresh, image_root, tmp_path, monkeypatch, caplog):
    settings = TrainSettings.of(SETTINGS, validation=ValidationSettings(every=1, patience=9))
    run_until(3, monkeypatch, fresh(), image_root, tmp_path, settings)
    unfinished = tmp_path / "work" / "t" / "unfinished"
    requested = json.loads((unfinished / "latest.json").read_text())["identity"]
    files = sorted(path for path in unfinished.rglob("*") if path.is_file())
    assert {path.name.partition("-")[0] for path in files} == {
        "latest.json", "weights.safetensors", "optimizer", "sha256.json", "best",
    }  # fmt: skip
    rng = Random(5)
    for path in files:
        whole = path.read_bytes()
        for _ in range(12):
            place = rng.randrange(8 * len(whole))
            spoilt = bytearray(whole)
            spoilt[place // 8] ^= 1 << place % 8
            path.write_bytes(spoilt)
            state = Unfinished(unfinished, requested).state()
            # a flip in JSON's own spaces changes no value
            assert state is None or (path.suffix == ".json" and json.loads(spoilt) == json.loads(whole)), (path, place)
        path.write_bytes(whole)
    assert Unfinished(unfinished, requested).state().step == 3

    spoilt = bytearray(whole := (unfinished / "step-00000003" / "weights.safetensors").read_bytes())
    spoilt[-3] ^= 4
    (unfinished / "step-00000003" / "weights.safetensors").write_bytes(spoilt)
    again, straight = fresh(), fresh()
    assert run(again, image_root, tmp_path, settings).resumed_from == 0  # it starts over
    run(straight, image_root, tmp_path / "straight", settings)
    assert equal(weights(again), weights(straight))
    assert "step-00000003: its bytes are not those that were written" in caplog.text
    kept = tmp_path / "work" / "t" / "unfinished.damaged" / "step-00000003" / "weights.safetensors"
    assert (kept.read_bytes(), whole != bytes(spoilt)) == (bytes(spoilt), True)


def test_a_second_run_of_the_same_training_is_refused_while_the_first_lives(fresh, image_root, tmp_path):
    with single_writer(tmp_path / "work" / "t", 0), pytest.raises(BusyError):
        run(fresh(), image_root, tmp_path)
