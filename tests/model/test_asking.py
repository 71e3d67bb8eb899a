"""A real (micro) Flamingo answers evaluation samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from polite_flamingo.evaluate.answers import BLIND, ask
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.flamingo import load_flamingo
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.records import Image, Sample, Task, Turn

SETTINGS = GenerationSettings(max_new_tokens=8, num_beams=1, do_sample=False, no_repeat_ngram_size=0)


def sample(number: int, *images: int) -> Sample:
    shown = tuple(range(len(images)))
    return Sample(
        f"s/test/{number}", "s", "test", "x", Task.VQA,
        (Turn("human", "what color is the circle?", shown), Turn("assistant", "red")),
        tuple(Image(f"{i}.png") for i in images),
    )  # fmt: skip


@pytest.fixture(scope="module")
def bundle(micro_flamingo_folder: Path) -> FlamingoBundle:
    return load_flamingo(micro_flamingo_folder)


def test_questions_with_no_one_and_two_images_are_answered_in_order(bundle: FlamingoBundle, image_root: Path) -> None:
    samples = [sample(0, 0), sample(1), sample(2, 1, 2), sample(3, 3)]
    together = ask(bundle, samples, SETTINGS, image_root=image_root, batch_size=4)
    alone = [ask(bundle, [s], SETTINGS, image_root=image_root, batch_size=1)[0] for s in samples]
    assert together == alone
    assert [a.id for a in together] == [s.id for s in samples]


def test_a_blind_answer_does_not_depend_on_the_image_and_a_seeing_one_does(
    bundle: FlamingoBundle, image_root: Path
) -> None:
    def texts(with_images: bool) -> set[str]:
        samples = [sample(i, i) for i in range(6)]
        answers = ask(bundle, samples, SETTINGS, image_root=image_root, batch_size=6, with_images=with_images)
        assert all(bool(a.extras.get(BLIND)) is not with_images for a in answers)
        return {a.rewritten for a in answers}

    assert len(texts(with_images=False)) == 1
    assert len(texts(with_images=True)) > 1


def test_a_question_that_spells_a_special_token_does_not_pose_as_an_image(
    bundle: FlamingoBundle, image_root: Path
) -> None:
    odd = sample(0, 0)
    odd = replace(odd, turns=(replace(odd.turns[0], text="what is an <image>?"), odd.turns[1]))
    assert len(ask(bundle, [odd], SETTINGS, image_root=image_root, batch_size=1)) == 1
