"""The texts the small models learn from: labels that are true, and nothing else that gives the label away."""

from random import Random

from polite_flamingo.world import language as say
from polite_flamingo.world.scenes import change_scene, draw_scene
from polite_flamingo.world.training.clip import falsified, statement
from polite_flamingo.world.training.connector import change_document, image_document, paired_document
from polite_flamingo.world.training.cross_encoders import LABELS, nli_example, reward_example
from polite_flamingo.world.truth import same_answer


def answer_in(sentence: str) -> tuple[str, str]:
    """Answer and question of the paper's NLI wording."""
    answer, question = sentence.split('" is the answer to the question: "')
    return answer.removeprefix('"'), question.removesuffix('"')


def test_three_examples_in_a_row_share_question_and_raw_answer() -> None:
    for index in range(0, 300, 3):
        rows = [nli_example(5, index + i) for i in range(3)]
        assert [row[2] for row in rows] == [0, 1, 2]
        assert len({row[1] for row in rows}) == 1
        assert len({row[0] for row in rows}) == 3


def test_entailed_answers_are_right_and_contradicting_ones_wrong_by_the_ground_truth() -> None:
    judged = 0
    for index in range(600):
        premise, hypothesis, label = nli_example(6, index)
        (said, question), (raw, _) = answer_in(premise), answer_in(hypothesis)
        if LABELS[label] == "neutral" or len(raw.split()) > 2:  # the judge wants the bare answer
            continue
        judged += 1
        assert same_answer(question, raw, said) == (LABELS[label] == "entailment"), (question, raw, said, LABELS[label])
    assert judged > 200


def test_statements_are_true_and_falsified_ones_are_not() -> None:
    for index in range(200):
        rng = Random(index)
        scene = draw_scene(rng)
        assert statement(scene, rng).true_of(scene)
        assert not falsified(scene, rng).true_of(scene)


def test_the_worse_response_is_never_the_better_one() -> None:
    for index in range(300):
        instruction, good, bad = reward_example(7, index)
        assert instruction and good != bad


def test_documents_tell_of_their_scene() -> None:
    rng = Random(1)
    scene = draw_scene(rng)
    shown = {t.name for t in scene}
    after = change_scene(scene, rng)
    assert after != scene
    assert say.difference(scene, after)[0] in change_document(scene, after, rng)
    text = "\n".join([image_document(scene, rng), *(paired_document(scene, rng) for _ in range(5))])
    assert any(name in text for name in shown)
