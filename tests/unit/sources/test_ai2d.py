from typing import Any

import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.images import open_image


def question(**values: Any) -> dict[str, Any]:
    answers = ["ears", "nose", "mouth", "face"]
    return {"abcLabel": False, "answerTexts": answers, "correctAnswer": 1, "questionId": "7.png-0", **values}


def put(root: Any, name: str, questions: Any, test: str = "7\n") -> None:
    root.json(f"ai2d/ai2d/questions/{name}.json", {"imageName": name, "questions": questions})
    root.text("ai2d/ai2d_test_ids.csv", test)


def labels(**values: Any) -> dict[str, Any]:
    box = {"rectangle": [[10, 10], [50, 40]], "replacementText": "A", "value": "nose"}
    return {"text": {"T0": {**box, **values}}}


def test_test_images_are_listed_and_all_others_train(root) -> None:
    for name in ("10.png", "9.png", "7.png"):
        put(root, name, {"What is it?": question(questionId=f"{name}-0")})
    (test,), _ = root.read("ai2d", "ai2d", "test")
    train, _ = root.read("ai2d", "ai2d", "train")
    assert (test.id, [s.id for s in train]) == ("ai2d/test/7.png-0", ["ai2d/train/9.png-0", "ai2d/train/10.png-0"])
    assert (test.instruction, test.response) == ("What is it? ears, nose, mouth, or face?", "nose")
    assert test.images[0].path == "ai2d/ai2d/images/7.png"


def test_empty_answers_are_left_out_and_repeated_ones_taken_once(root) -> None:
    put(root, "7.png", {"What?": question(answerTexts=["{}", "a", "a", "b"], correctAnswer=3)})
    (sample,), _ = root.read("ai2d", "ai2d", "test")
    assert (sample.extras["choices"], sample.response) == (["a", "b"], "b")


def test_questions_about_letters_get_a_picture_with_the_letters(root) -> None:
    root.image("ai2d/ai2d/images/7.png", (60, 50))
    root.json("ai2d/ai2d/annotations/7.png.json", labels())
    put(root, "7.png", {"What is A?": question(abcLabel=True), "What?": question(questionId="7.png-1")})
    (lettered, plain), rejects = root.read("ai2d", "ai2d", "test")
    image = lettered.images[0].path
    assert image.startswith("derived/")
    assert plain.images[0].path == "ai2d/ai2d/images/7.png"
    assert lettered.extras["derived_from"][image]["image"] == "ai2d/ai2d/images/7.png"
    picture = open_image(root.path, image)
    assert (picture.getpixel((12, 12)), picture.getpixel((2, 2))) == ((255, 255, 255), (255, 0, 0))
    black = sum(picture.getpixel((x, y)) == (0, 0, 0) for x in range(14, 46) for y in range(14, 36))
    assert (black > 10, rejects) == (True, [])


def test_drawing_again_gives_the_same_file(root) -> None:
    root.image("ai2d/ai2d/images/7.png", (60, 50))
    root.json("ai2d/ai2d/annotations/7.png.json", labels())
    put(root, "7.png", {"What is A?": question(abcLabel=True)})
    first, _ = root.read("ai2d", "ai2d", "test")
    assert root.read("ai2d", "ai2d", "test")[0] == first


def test_a_broken_question_loses_only_itself(root) -> None:
    for values, annotation, reason in [
        ({"correctAnswer": 4}, None, "'correctAnswer' names no answer"),
        ({"answerTexts": ["{}", "{}", "b", "c"], "correctAnswer": 0}, None, "'correctAnswer' names no answer"),
        ({"answerTexts": ["a", "{}"], "correctAnswer": 0}, None, "question has fewer than two answers"),
        ({"answerTexts": ["a", 5], "correctAnswer": 0}, None, "'answerTexts' holds something other than text"),
        ({"questionId": None}, None, "row lacks 'questionId'"),
        ({"abcLabel": True}, None, "file does not exist"),
        ({"abcLabel": True}, {"text": {"T0": {}}}, "row lacks 'replacementText'"),
        ({"abcLabel": True}, labels(rectangle=[[1, 2], [3]]), "'rectangle' is not two corners"),
        ({"abcLabel": True}, labels(rectangle=[[1, 2], [3, 1e300]]), "'rectangle' is not two corners"),
        ({"abcLabel": True}, labels(), "image is missing"),
    ]:
        with root.case(values, annotation, reason):
            if annotation is not None:
                root.json("ai2d/ai2d/annotations/7.png.json", annotation)
            put(root, "7.png", {"What?": question(**values), "Which?": question(questionId="7.png-1")})
            samples, (reject,) = root.read("ai2d", "ai2d", "test")
            assert (len(samples), reject.file, reject.row) == (1, "ai2d/ai2d/questions/7.png.json", "0")
            assert reject.reason == reason


def test_a_broken_question_file_loses_only_itself(root) -> None:
    put(root, "7.png", {"What?": question()}, "6\n7\n8\n")
    root.text("ai2d/ai2d/questions/6.png.json", "{")
    root.json("ai2d/ai2d/questions/8.png.json", {"imageName": "8.png"})
    samples, rejects = root.read("ai2d", "ai2d", "test")
    assert (len(samples), [r.reason for r in rejects]) == (1, ["file is not valid JSON", "row lacks 'questions'"])


def test_an_unknown_split_is_an_error(root) -> None:
    put(root, "7.png", {})
    with pytest.raises(DataError, match="no such split"):
        root.read("ai2d", "ai2d", "val")
