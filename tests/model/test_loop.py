"""The training loop: learns, repeats, survives being killed, refuses what is not a number."""

from __future__ import annotations

import pytest
import torch

from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.model.flamingo import load_flamingo, named_tensors
from polite_flamingo.model.freezing import set_trainable, trainable_tensors
from polite_flamingo.model.lora import LoraSettings, inject_lora
from polite_flamingo.tracking.base import NullTracker
from polite_flamingo.train import loop
from polite_flamingo.train.collate import Example
from polite_flamingo.train.loop import TrainSettings, mean_loss, train

SETTINGS = TrainSettings(learning_rate=3e-3, epochs=4, global_batch_size=4, warmup_steps=2, checkpoint_seconds=0.0)


@pytest.fixture
def bundle(micro_flamingo_folder):
    made = load_flamingo(micro_flamingo_folder)
    inject_lora(made, LoraSettings(r=4, alpha=4, dropout=0.2))
    set_trainable(made, ["lora", "xattn"])
    return made


def examples(bundle) -> list[Example]:
    made = []
    for index, word in enumerate(["red", "blue", "green", "red", "blue", "green", "red", "blue"]):
        shown = index % 3 != 0
        text = ("<image><|endofchunk|>" if shown else "") + f"what color is the star ? {word}</s>"
        ids = tuple(bundle.tokenizer(text, add_special_tokens=False).input_ids)
        labels = tuple([-100] * (len(ids) - 3) + list(ids[-3:]))
        made.append(Example(f"e{index}", ids, labels, (f"{index % 6}.png",) if shown else ()))
    return made


def run(bundle, image_root, tmp_path, data=None, settings=SETTINGS):
    return train(
        bundle,
        examples(bundle) if data is None else data,
        settings,
        image_root=image_root,
        out=tmp_path / "report",
        tracker=NullTracker(),
        label="t",
        work_root=tmp_path / "work",
    )


def weights(bundle):
    return {name: tensor.detach().clone() for name, tensor in trainable_tensors(bundle).items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def test_the_loss_falls_and_is_drawn(bundle, image_root, tmp_path):
    before = mean_loss(bundle, examples(bundle), image_root=image_root)
    result = run(bundle, image_root, tmp_path)
    assert result.steps == len(result.losses) == 8
    assert mean_loss(bundle, examples(bundle), image_root=image_root) < before
    assert (tmp_path / "report" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not list((tmp_path / "work").rglob("checkpoint.pt"))


def test_two_runs_give_the_same_bits_and_leave_the_global_generator_alone(micro_flamingo_folder, image_root, tmp_path):
    made = []
    torch.manual_seed(3)
    expected = torch.rand(2)
    for name in "ab":
        one = load_flamingo(micro_flamingo_folder)
        inject_lora(one, LoraSettings(r=4, alpha=4, dropout=0.2))
        set_trainable(one, ["lora"])
        torch.manual_seed(3)
        run(one, image_root, tmp_path / name)
        assert torch.equal(torch.rand(2), expected)
        made.append((weights(one), (tmp_path / name / "report" / "loss.png").read_bytes()))
    assert equal(made[0][0], made[1][0])
    assert made[0][1] == made[1][1]


def test_a_killed_run_goes_on_to_the_same_bits(micro_flamingo_folder, image_root, tmp_path, monkeypatch):
    def fresh():
        made = load_flamingo(micro_flamingo_folder)
        inject_lora(made, LoraSettings(r=4, alpha=4, dropout=0.2))
        set_trainable(made, ["lora", "xattn"])
        return made

    whole = fresh()
    straight = run(whole, image_root, tmp_path / "straight")

    class Killed(BaseException):
        pass

    saved = loop._save
    count = 0

    def save_then_die(*args):
        nonlocal count
        saved(*args)
        count += 1
        if count == 5:
            raise Killed

    monkeypatch.setattr(loop, "_save", save_then_die)
    with pytest.raises(Killed):
        run(fresh(), image_root, tmp_path / "killed")
    monkeypatch.setattr(loop, "_save", saved)
    again = fresh()
    resumed = run(again, image_root, tmp_path / "killed")
    assert resumed.resumed_from == 5
    assert resumed.losses == straight.losses
    assert equal(weights(again), weights(whole))


def test_other_settings_do_not_reuse_a_checkpoint(bundle, image_root, tmp_path):
    tensors = trainable_tensors(bundle)
    data = examples(bundle)
    base = loop._fingerprint(bundle, tensors, data, SETTINGS, 8)
    other = TrainSettings(learning_rate=1e-3, epochs=4, global_batch_size=4, warmup_steps=2)
    machine = TrainSettings(3e-3, 4, 4, warmup_steps=2, micro_batch_size=2, checkpoint_seconds=9.0)
    assert loop._fingerprint(bundle, tensors, data, other, 8) != base
    assert loop._fingerprint(bundle, tensors, data[:-1], SETTINGS, 8) != base
    assert loop._fingerprint(bundle, tensors, data, machine, 8) == base


def test_micro_batches_change_nothing_but_rounding(micro_flamingo_folder, image_root, tmp_path):
    made = []
    for micro in (4, 1):
        one = load_flamingo(micro_flamingo_folder)
        set_trainable(one, ["perceiver", "xattn"])
        settings = TrainSettings(1e-3, 1, 4, micro_batch_size=micro)
        made.append((run(one, image_root, tmp_path / str(micro), settings=settings).losses, weights(one)))
    assert made[0][0] == pytest.approx(made[1][0], rel=1e-4)
    assert all(torch.allclose(made[0][1][n], made[1][1][n], atol=2e-4) for n in made[0][1])


def test_only_chosen_weights_move(micro_flamingo_folder, image_root, tmp_path):
    bundle = load_flamingo(micro_flamingo_folder)
    set_trainable(bundle, ["perceiver"])
    before = {n: t.detach().clone() for n, t in named_tensors(bundle.model).items()}
    run(bundle, image_root, tmp_path)
    changed = {n for n, t in named_tensors(bundle.model).items() if not torch.equal(t, before[n])}
    assert changed
    assert all(name.startswith("perceiver.") for name in changed)


def test_a_loss_that_is_no_number_names_step_and_samples(bundle, image_root, tmp_path):
    with torch.no_grad():
        bundle.model.perceiver.latents.fill_(float("nan"))
    shown = [e for e in examples(bundle) if e.images]
    with pytest.raises(ModelError, match=r"not finite at step 0") as caught:
        run(bundle, image_root, tmp_path, data=shown)
    assert set(caught.value.value) <= {e.id for e in shown}


def test_no_example_and_nothing_to_train_are_told(bundle, image_root, tmp_path):
    with pytest.raises(DataError, match="no example"):
        run(bundle, image_root, tmp_path, data=[])
    bundle.model.requires_grad_(False)
    with pytest.raises(ModelError, match="nothing to train"):
        run(bundle, image_root, tmp_path)


def test_epochs_draw_anew(bundle, image_root, tmp_path):
    asked = []

    def draw(epoch: int) -> list[Example]:
        asked.append(epoch)
        return examples(bundle)[epoch : epoch + 4]

    run(bundle, image_root, tmp_path, data=draw)
    assert sorted(set(asked)) == [0, 1, 2, 3]


def test_learning_rate_warms_up_then_stays_or_falls():
    constant = TrainSettings(1.0, 1, 1, warmup_steps=4)
    cosine = TrainSettings(1.0, 1, 1, scheduler="cosine", warmup_steps=4)
    assert [constant.rate(s, 10) for s in (0, 3, 4, 9)] == [0.25, 1.0, 1.0, 1.0]
    assert cosine.rate(4, 10) == 1.0
    assert cosine.rate(9, 10) < 0.1


def test_bfloat16_computes_but_the_weights_stay_float32(bundle, image_root, tmp_path):
    settings = TrainSettings(3e-3, 1, 4, bf16=True)
    assert run(bundle, image_root, tmp_path, settings=settings).steps == 2
    assert {t.dtype for t in trainable_tensors(bundle).values()} == {torch.float32}
    bundle.cast("bfloat16")
    with pytest.raises(ModelError, match="float32"):
        run(bundle, image_root, tmp_path)
