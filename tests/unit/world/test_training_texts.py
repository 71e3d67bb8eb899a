"""The texts the small models learn from: labels that are true, and nothing else that gives the label away."""

from random import Random

from polite_flamingo.world import language as say
from polite_flamingo.world.scenes import change_scene, draw_scene
from polite_flamingo.world.training.clip import falsified, statement
from polite_flamingo.world.training.connector import change_document, image_document, paired_document
from polite_flamingo.world.training.nli_texts import HELD_OUT, LABELS, nli_triple
from polite_flamingo.world.training.reward_texts import RUNGS, ladder, preference
from polite_flamingo.world.truth import bare_answer, same_answer


def test_a_triple_shares_question_and_annotation_and_the_truth_confirms_its_labels() -> None:
    wordings = set()
    for index in range(40):
        triple = nli_triple(6, index, held_out=index % 4 == 0)
        assert [example.label for example in triple] == [0, 1, 2]
        assert len({(example.question, example.raw, example.form) for example in triple}) == 1
        if index % 4:
            wordings.add(triple[0].question.split(" ")[0])
        if " " in bare_answer(triple[0].raw):  # a sentence, and the truth wants the bare answer
            continue
        for example in triple:
            entailed = LABELS[example.label] == "entailment"
            assert same_answer(example.question, example.raw, example.said) == entailed, example
    assert not wordings & {wording.split(" ")[0] for kind in ("color", "position") for wording in HELD_OUT[kind]}


def test_statements_are_true_and_falsified_ones_are_not() -> None:
    for index in range(200):
        rng = Random(index)
        scene = draw_scene(rng)
        assert statement(scene, rng).true_of(scene)
        assert not falsified(scene, rng).true_of(scene)


def test_a_preference_has_a_margin_and_a_ladder_its_rungs_in_order() -> None:
    for index in range(200):
        pair = preference(7, index)
        assert pair.instruction and pair.better != pair.worse and pair.margin > 0
        _, answers = ladder(7, index)
        assert list(answers) == [rung for rung in RUNGS if rung in answers]
        assert len(answers["word"]) < len(answers["sentence"]) < len(answers["courteous"])


def test_documents_tell_of_their_scene() -> None:
    rng = Random(1)
    scene = draw_scene(rng)
    shown = {t.name for t in scene}
    after = change_scene(scene, rng)
    assert after != scene
    assert say.difference(scene, after)[0] in change_document(scene, after, rng)
    text = "\n".join([image_document(scene, rng), *(paired_document(scene, rng) for _ in range(5))])
    assert any(name in text for name in shown)
