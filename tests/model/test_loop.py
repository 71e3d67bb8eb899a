"""The training loop: learns, repeats, validates, refuses what is not a number."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.model.bundle import named_tensors
from polite_flamingo.model.flamingo import load_flamingo
from polite_flamingo.model.freezing import set_trainable, trainable_tensors
from polite_flamingo.model.lora import inject_lora
from polite_flamingo.model.settings import LoraSettings
from polite_flamingo.tracking.base import NullTracker
from polite_flamingo.train.data import Example, FixedExamples
from polite_flamingo.train.loop import train
from polite_flamingo.train.settings import TrainingRun, TrainSettings, ValidationSettings
from polite_flamingo.train.validation import mean_loss

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


def load_like(bundle):
    made = load_flamingo(bundle.folder)
    inject_lora(made, bundle.lora)
    set_trainable(made, ["lora", "xattn"])
    return made


def run(bundle, image_root, tmp_path, data=None, settings=SETTINGS, tracker=None, **more):
    return train(
        bundle,
        examples(bundle) if data is None else data,
        settings,
        TrainingRun("t", image_root, tmp_path / "report", tracker or NullTracker(), work_root=tmp_path / "work"),
        **more,
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
    assert len((tmp_path / "report" / "loss.csv").read_text().splitlines()) == 1 + result.steps
    assert not (tmp_path / "work" / "t" / "unfinished").exists()


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


def test_micro_batches_change_nothing_but_rounding(micro_flamingo_folder, image_root, tmp_path):
    made = []
    for micro in (4, 1):
        one = load_flamingo(micro_flamingo_folder)
        set_trainable(one, ["perceiver", "xattn"])
        settings = TrainSettings(
            learning_rate=1e-3, epochs=1, global_batch_size=4, warmup_steps=0, micro_batch_size=micro
        )
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


def test_a_loss_that_is_no_number_stops_and_keeps_the_batch(bundle, image_root, tmp_path):
    with torch.no_grad():
        bundle.model.perceiver.latents.fill_(float("nan"))
    shown = [e for e in examples(bundle) if e.images]
    with pytest.raises(ModelError, match=r"loss is not finite at step 0") as caught:
        run(bundle, image_root, tmp_path, data=shown)
    named = set(caught.value.value)
    assert named <= {e.id for e in shown}
    folder = tmp_path / "work" / "t" / "bad_batch-step-0-rank-0"
    assert str(folder) in caught.value.where
    facts = json.loads((folder / "batch.json").read_text())
    assert {name for part in facts["parts"] for name in part["ids"]} == named
    kept = load_file(folder / "0.safetensors")
    assert kept["input_ids"].shape == kept["labels"].shape
    assert len(kept["input_ids"]) == len(facts["parts"][0]["ids"])


def test_a_gradient_that_is_no_number_stops_too(bundle, image_root, tmp_path):
    tensor = trainable_tensors(bundle)["lang_encoder.old_decoder_blocks.0.self_attn.q_proj.lora_A.default.weight"]
    tensor.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(ModelError, match=r"gradient is not finite at step 0"):
        run(bundle, image_root, tmp_path)


def test_no_example_and_nothing_to_train_are_told(bundle, image_root, tmp_path):
    with pytest.raises(DataError, match="no example"):
        run(bundle, image_root, tmp_path, data=[])
    bundle.model.requires_grad_(False)
    with pytest.raises(ModelError, match="nothing to train"):
        run(bundle, image_root, tmp_path)


class Drawn:
    """Training data that notes which epochs were asked for."""

    identity = "drawn"

    def __init__(self, made: list[Example]) -> None:
        self.made, self.asked = made, []

    def epoch(self, epoch: int) -> FixedExamples:
        self.asked.append(epoch)
        return FixedExamples(self.made[epoch : epoch + 4])


def test_epochs_draw_anew(bundle, image_root, tmp_path):
    data = Drawn(examples(bundle))
    run(bundle, image_root, tmp_path, data=data)
    assert sorted(set(data.asked)) == [0, 1, 2, 3]


def test_a_broken_image_stops_the_training_and_is_named(bundle, image_root, tmp_path):
    made = examples(bundle)
    made[1] = replace(made[1], images=("missing.png",))
    with pytest.raises(DataError, match=r"missing\.png"):
        run(bundle, image_root, tmp_path, data=made)


def test_a_batch_without_a_supervised_token_is_refused(bundle, image_root, tmp_path):
    mute = [replace(e, labels=(-100,) * len(e)) for e in examples(bundle)]
    with pytest.raises(DataError, match="no token to learn"):
        run(bundle, image_root, tmp_path, data=mute)


def test_the_time_without_data_is_measured(bundle, image_root, tmp_path, monkeypatch):
    ticks = SimpleNamespace(monotonic=count().__next__)  # one second from every look to the next
    monkeypatch.setattr("polite_flamingo.train.feed.time", ticks)
    settings = SETTINGS.model_copy(update={"checkpoint_seconds": 1e9})
    result = run(bundle, image_root, tmp_path, settings=settings)
    assert result.waiting_share * result.seconds == pytest.approx(result.steps, rel=0.05)
    assert 0.5 < result.useful_share <= 1


def test_a_validation_loss_is_measured_every_so_often_and_drawn(bundle, image_root, tmp_path):
    plain = run(load_like(bundle), image_root, tmp_path / "plain")
    settings = TrainSettings.of(SETTINGS, validation=ValidationSettings(every=3))
    result = run(bundle, image_root, tmp_path, settings=settings, validation=examples(bundle)[:3])
    assert [step for step, _ in result.validation] == [3, 6, 8]
    assert result.losses == plain.losses
    measured = mean_loss(bundle, examples(bundle)[:3], image_root=image_root)
    assert result.validation[-1][1] == pytest.approx(measured, rel=1e-5)


def test_without_a_better_validation_the_training_stops_with_its_best_weights(bundle, image_root, tmp_path):
    wrong = [replace(e, labels=tuple(-100 if label == -100 else 7 for label in e.labels)) for e in examples(bundle)]
    settings = TrainSettings.of(
        SETTINGS, learning_rate=3e-2, epochs=20, warmup_steps=0, validation=ValidationSettings(every=1, patience=2)
    )
    result = run(bundle, image_root, tmp_path, settings=settings, validation=wrong)
    assert result.steps == len(result.losses) < 40
    assert result.best_step == min(result.validation, key=lambda found: found[1])[0] == result.steps - 2
    best = dict(result.validation)[result.best_step]
    assert mean_loss(bundle, wrong, image_root=image_root) == pytest.approx(best, rel=1e-5)


def test_validation_without_examples_is_refused(bundle, image_root, tmp_path):
    with pytest.raises(DataError, match="validate"):
        run(bundle, image_root, tmp_path, settings=TrainSettings.of(SETTINGS, validation=ValidationSettings(every=1)))


def test_the_tracker_gets_what_a_run_is_judged_by(bundle, image_root, tmp_path):
    class Rows(NullTracker):
        def __init__(self) -> None:
            self.rows = []

        def metrics(self, values, step=None) -> None:
            self.rows.append((step, values))

    tracker = Rows()
    settings = TrainSettings.of(SETTINGS, epochs=6, validation=ValidationSettings(every=12))
    # a subclass of the null tracker is not silent: only the null tracker itself costs nothing
    result = run(bundle, image_root, tmp_path, settings=settings, validation=examples(bundle)[:2], tracker=tracker)
    rows = [(step, values) for step, values in tracker.rows if "t/loss" in values]
    assert [step for step, _ in rows] == [10, 12]
    assert rows[0][1]["t/loss"] == pytest.approx(sum(result.losses[:10]) / 10)
    assert {name.removeprefix("t/") for name in rows[0][1]} == {
        "loss", "learning_rate", "gradient_norm", "tokens_per_second",
        "useful_token_share", "waiting_share", "memory_gb",
    }  # fmt: skip
    assert (12, {"t/validation_loss": result.validation[0][1]}) in tracker.rows


def test_a_tower_that_learns_moves_with_text_only_batches_too(micro_flamingo_folder, image_root, tmp_path):
    bundle = load_flamingo(micro_flamingo_folder)
    set_trainable(bundle, ["vision"])
    before = weights(bundle)
    run(bundle, image_root, tmp_path)
    after = weights(bundle)
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert any("embeddings" in name for name in moved)
    assert all(name.startswith("vision_encoder.") for name in moved)


def test_learning_rate_warms_up_then_stays_or_falls():
    constant = TrainSettings(learning_rate=1.0, epochs=1, global_batch_size=1, warmup_steps=4)
    cosine = TrainSettings(learning_rate=1.0, epochs=1, global_batch_size=1, scheduler="cosine", warmup_steps=4)
    assert [constant.rate(s, 10) for s in (0, 3, 4, 9)] == [0.25, 1.0, 1.0, 1.0]
    assert cosine.rate(4, 10) == 1.0
    assert cosine.rate(9, 10) < 0.1


def test_bfloat16_computes_but_the_weights_stay_float32(bundle, image_root, tmp_path):
    settings = TrainSettings(learning_rate=3e-3, epochs=1, global_batch_size=4, warmup_steps=0, bf16=True)
    assert run(bundle, image_root, tmp_path, settings=settings).steps == 2
    assert {t.dtype for t in trainable_tensors(bundle).values()} == {torch.float32}
    bundle.cast("bfloat16")
    with pytest.raises(ModelError, match="float32"):
        run(bundle, image_root, tmp_path)
