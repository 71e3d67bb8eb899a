"""VQA-E, ScienceQA, GQA, TextVQA, OCR-VQA and OK-VQA, one test per trap of their formats."""

import gzip
import json
from typing import Any

import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.records import Task
from polite_flamingo.sources.forms import files

VQA_E = {
    "img_id": 7,
    "question": "Is the cat asleep?",
    "answers": ["yes"] * 9 + ["no"],
    "question_type": "is the",
    "answer_type": "yes/no",
    "multiple_choice_answer": "yes",
    "explanation": ["the cat lies on the sofa with  its eyes closed", 0.83],
}


def test_vqa_e_answers_with_its_explanation_and_drops_the_score(root) -> None:
    root.image("coco/train2014/COCO_train2014_000000000007.jpg")
    root.json("vqa_e/VQA-E_train_set.json", [VQA_E])
    (sample,), rejects = root.read("vqa_e", "vqa_e", "train")
    assert (sample.id, sample.task, rejects) == ("vqa_e/train/7-0", Task.VQA, [])
    assert sample.response == "Answer: Yes. the cat lies on the sofa with its eyes closed"
    assert sample.images[0].path == "coco/train2014/COCO_train2014_000000000007.jpg"
    assert sample.extras["short_answer"] == "yes"


def test_vqa_e_takes_the_image_id_under_either_name(root) -> None:
    documented = {**VQA_E, "image_id": 8}
    del documented["img_id"]
    root.json("vqa_e/VQA-E_val_set.json", [VQA_E, documented])
    samples, _ = root.read("vqa_e", "vqa_e", "val")
    assert [s.id for s in samples] == ["vqa_e/val/7-0", "vqa_e/val/8-1"]
    assert samples[1].images[0].path == "coco/val2014/COCO_val2014_000000000008.jpg"


def test_vqa_e_counts_the_majority_where_it_is_not_given(root) -> None:
    row = {key: value for key, value in VQA_E.items() if key != "multiple_choice_answer"}
    root.json("vqa_e/VQA-E_train_set.json", [{**row, "answers": ["no", "yes", "yes"], "explanation": "It blinks."}])
    (sample,), _ = root.read("vqa_e", "vqa_e", "train")
    assert sample.response == "Answer: Yes. It blinks."


def test_vqa_e_rejects_a_broken_row_and_goes_on(root) -> None:
    for values, reason in [
        ({"explanation": []}, "row has no explanation"),
        ({"explanation": ["", 0.5]}, "row has no explanation"),
        ({"explanation": None}, "row has no explanation"),
        ({"answers": None}, "row lacks 'answers'"),
        ({"answers": [1]}, "'answers' holds something other than text"),
        ({"question": " "}, "row has an empty 'question'"),
        ({"img_id": "7"}, "'img_id' is not of type int"),
    ]:
        with root.case(values, reason):
            root.json("vqa_e/VQA-E_train_set.json", [{**VQA_E, **values}, VQA_E, "text"])
            (sample,), (first, last) = root.read("vqa_e", "vqa_e", "train")
            assert (sample.id, first.row, first.reason) == ("vqa_e/train/7-1", "0", reason)
            assert (last.row, last.reason) == ("2", "row is not an object")


def problem(**values: Any) -> dict[str, Any]:
    return {
        "question": "Which is farthest north?",
        "choices": ["Ohio", "Texas"],
        "answer": 0,
        "hint": "",
        "image": "image.png",
        "topic": "geography",
        "lecture": "Maps have four directions.\n\nNorth is up.",
        "solution": "Ohio is farthest north.",
        "split": "train",
        **values,
    }


def test_scienceqa_asks_with_letters_and_answers_with_lecture_and_solution(root) -> None:
    root.json("scienceqa/problems.json", {"1": problem(hint=" Look at the map. ")})
    (sample,), _ = root.read("scienceqa", "scienceqa", "train")
    assert sample.instruction == "Look at the map.\nWhich is farthest north?\n(A) Ohio\n(B) Texas"
    assert sample.response == "Answer: Ohio. Maps have four directions.\n\nNorth is up.\nOhio is farthest north."
    assert (sample.id, sample.task) == ("scienceqa/train/1", Task.VQA)
    assert sample.images[0].path == "scienceqa/images/train/1/image.png"
    assert sample.extras["choices"] == ["Ohio", "Texas"]


def test_a_scienceqa_question_without_picture_is_text(root) -> None:
    root.json("scienceqa/problems.json", {"1": problem(image=None)})
    (sample,), _ = root.read("scienceqa", "scienceqa", "train")
    assert (sample.task, sample.images, sample.turns[0].images) == (Task.TEXT, (), ())


def test_scienceqa_without_lecture_and_solution_gives_the_answer_alone(root) -> None:
    root.json("scienceqa/problems.json", {"1": problem(lecture="", solution=None, choices=["It is Ohio.", "No."])})
    (sample,), _ = root.read("scienceqa", "scienceqa", "train")
    assert (sample.response, sample.extras["rationales"]) == ("Answer: It is Ohio.", [])


def test_scienceqa_splits_by_the_record_where_no_list_is_there(root) -> None:
    for gzipped in [False, True]:
        with root.case(gzipped):
            problems = {
                "1": problem(),
                "2": problem(split="test"),
                "3": problem(split="val"),
                "4": problem(split=["dev"]),
            }
            root.json("scienceqa/problems.json", problems)
            if gzipped:
                (root.path / "scienceqa/problems.json").unlink()
                (root.path / "scienceqa/problems.json.gz").write_bytes(gzip.compress(json.dumps(problems).encode()))
            samples, (reject,) = root.read("scienceqa", "scienceqa", "trainval")
            assert [s.id for s in samples] == ["scienceqa/trainval/1", "scienceqa/trainval/3"]
            assert samples[1].images[0].path == "scienceqa/images/val/3/image.png"
            assert (reject.row, reject.reason) == ("4", "'split' is none of the official ones")


def test_scienceqa_follows_the_official_list_of_a_split(root) -> None:
    root.json("scienceqa/problems.json", {"1": problem(), "2": problem(split="test"), "3": problem(split="test")})
    root.json("scienceqa/pid_splits.json", {"minitest": ["3", "9"]})
    (sample,), (reject,) = root.read("scienceqa", "scienceqa", "minitest")
    assert sample.images[0].path == "scienceqa/images/test/3/image.png"
    assert (reject.row, reject.reason) == ("9", "question of 'pid_splits.json' is not in the file")
    with pytest.raises(DataError, match="does not list the split"):
        root.read("scienceqa", "scienceqa", "train")


def test_scienceqa_needs_the_list_for_a_split_no_record_names(root) -> None:
    root.json("scienceqa/problems.json", {"1": problem()})
    with pytest.raises(DataError, match="pid_splits"):
        root.read("scienceqa", "scienceqa", "minival")


def test_scienceqa_rejects_a_broken_row_and_goes_on(root) -> None:
    for values, reason in [
        ({"answer": 2}, "'answer' names no choice"),
        ({"answer": "A"}, "'answer' is not of type int"),
        ({"choices": ["Ohio", " "]}, "a choice is blank"),
        ({"choices": ["Ohio"]}, "'answer' names no choice"),
        ({"question": None}, "row lacks 'question'"),
        ({"image": "../../secret.png"}, "image path leaves the data root"),
    ]:
        with root.case(values, reason):
            root.json("scienceqa/problems.json", {"1": problem(**values), "2": problem()})
            (sample,), (reject,) = root.read("scienceqa", "scienceqa", "train")
            assert (sample.id, reject.row, reject.reason) == ("scienceqa/train/2", "1", reason)


def gqa(**values: Any) -> dict[str, Any]:
    types = {"structural": "query", "semantic": "attr", "detailed": "color"}
    row = {
        "imageId": "n7",
        "question": "What color is it?",
        "answer": "red",
        "fullAnswer": "It is red.",
        "types": types,
    }
    return {**row, "semantic": [{"operation": "select", "dependencies": [], "argument": "car (1)"}], **values}


def test_gqa_reads_the_official_object_by_question_id(root, monkeypatch) -> None:
    for base in ["", "questions1.2/"]:
        for threshold in [files.STREAM_ABOVE, 0]:
            with root.case(threshold, base):
                monkeypatch.setattr(files, "STREAM_ABOVE", threshold)
                root.json(f"gqa/{base}train_balanced_questions.json", {"02930152": gqa(), "07333408": gqa(imageId="8")})
                (first, second), _ = root.read("gqa", "gqa", "train")
                assert (first.id, first.response) == ("gqa/train/02930152", "red")
                assert first.extras == {"answers": ["red"], "question_type": "query", "full_answer": "It is red."}
                assert second.images[0].path == "gqa/images/8.jpg"


def test_gqa_reads_the_list_of_the_mirror(root, monkeypatch) -> None:
    for threshold in [files.STREAM_ABOVE, 0]:
        with root.case(threshold):
            monkeypatch.setattr(files, "STREAM_ABOVE", threshold)
            row = {"image": "n7.jpg", "question": "What color is it?", "answer": "red", "question_id": "02930152"}
            root.json("gqa/testdev_balanced_questions.json", [row, {**row, "question_id": 5}])
            (first, second), _ = root.read("gqa", "gqa", "testdev_balanced")
            assert [first.id, second.id] == ["gqa/testdev_balanced/02930152", "gqa/testdev_balanced/5"]
            assert (first.images[0].path, first.extras) == (
                "gqa/images/n7.jpg",
                {"answers": ["red"], "question_type": ""},
            )


def test_gqa_reads_the_shards_of_the_unbalanced_split_in_their_order(root) -> None:
    for shard in (10, 9, 0):
        root.json(f"gqa/train_all_questions/train_all_questions_{shard}.json", {f"q{shard}": gqa()})
    samples, _ = root.read("gqa", "gqa", "train_all")
    assert [s.id for s in samples] == ["gqa/train_all/q0", "gqa/train_all/q9", "gqa/train_all/q10"]


def test_gqa_in_two_places_is_refused(root) -> None:
    root.json("gqa/val_balanced_questions.json", {})
    root.json("gqa/questions/val_balanced_questions.json", {})
    with pytest.raises(DataError, match="more than one"):
        root.read("gqa", "gqa", "val")


def test_gqa_rejects_a_broken_or_unanswered_row_and_goes_on(root) -> None:
    for row, reason in [
        (gqa(answer=None), "row lacks 'answer'"),
        (gqa(question=""), "row has an empty 'question'"),
        (gqa(imageId="../../n7"), "image path leaves the data root"),
        ({"image": "7.jpg", "question": "Red?", "answer": "yes"}, "row lacks 'question_id'"),
        ({"question": "Red?", "answer": "yes"}, "row lacks 'image'"),
        ([], "row is not an object"),
    ]:
        with root.case(row, reason):
            root.json("gqa/test_balanced_questions.json", {"1": row, "2": gqa()})
            (sample,), (reject,) = root.read("gqa", "gqa", "test")
            assert (sample.id, reject.row, reject.reason) == ("gqa/test/2", "1", reason)


def textvqa(**values: Any) -> dict[str, Any]:
    row = {"question": "What does it say?", "image_id": "f1a2", "question_id": 3, "set_name": "train"}
    return {**row, "answers": ["stop", "Stop", "", "stop"], **values}


def test_textvqa_takes_the_majority_and_blank_answers_do_not_vote(root) -> None:
    root.json("textvqa/TextVQA_0.5.1_val.json", {"data": [textvqa(answers=["", "", "", "halt", "stop", "stop"])]})
    (sample,), _ = root.read("textvqa", "textvqa", "val")
    assert (sample.id, sample.response) == ("textvqa/val/3", "stop")
    assert sample.images[0].path == "textvqa/train_images/f1a2.jpg"
    assert sample.extras["answers"] == ["halt", "stop", "stop"]


def test_textvqa_answers_given_equally_often_go_to_the_first(root) -> None:
    root.json("textvqa/TextVQA_0.5.1_train.json", {"data": [textvqa(answers=["halt", "stop", "stop", "halt"])]})
    (sample,), _ = root.read("textvqa", "textvqa", "train")
    assert sample.response == "halt"


def test_textvqa_of_the_test_split_has_images_of_its_own_and_no_answers(root) -> None:
    unanswered = textvqa(question_id=4)
    del unanswered["answers"]
    root.json("textvqa/TextVQA_0.5.1_test.json", {"data": [unanswered, textvqa()]})
    (sample,), (reject,) = root.read("textvqa", "textvqa", "test")
    assert sample.images[0].path == "textvqa/test_images/f1a2.jpg"
    assert (reject.row, reject.reason) == ("0", "row lacks 'answers'")


def test_textvqa_rejects_a_broken_row_and_goes_on(root) -> None:
    for values, reason in [
        ({"answers": ["", " "]}, "row has an empty 'answers'"),
        ({"answers": [7]}, "'answers' holds something other than text"),
        ({"image_id": "../x"}, "image path leaves the data root"),
        ({"question_id": None}, "row lacks 'question_id'"),
    ]:
        with root.case(values, reason):
            root.json("textvqa/TextVQA_0.5.1_train.json", {"data": [textvqa(**values), textvqa()]})
            (sample,), (reject,) = root.read("textvqa", "textvqa", "train")
            assert (sample.id, reject.row, reject.reason) == ("textvqa/train/3", "0", reason)


def book(**values: Any) -> dict[str, Any]:
    return {
        "imageURL": "http://ecx.images-amazon.com/images/I/51UZ.jpg",
        "questions": ["Who wrote this book?", "What is the title?"],
        "answers": ["Ann Author", "A Title"],
        "title": "A Title",
        "authorName": "Ann Author",
        "genre": "Novels",
        "split": 1,
        **values,
    }


def test_ocrvqa_yields_one_sample_per_question_of_the_numbered_split(root, monkeypatch) -> None:
    for threshold in [files.STREAM_ABOVE, 0]:
        with root.case(threshold):
            monkeypatch.setattr(files, "STREAM_ABOVE", threshold)
            root.json("ocrvqa/dataset.json", {"0761": book(), "0762": book(split=2), "0763": book(split=3)})
            for split, key in (("train", "0761"), ("val", "0762"), ("test", "0763")):
                samples, rejects = root.read("ocrvqa", "ocrvqa", split)
                assert [s.id for s in samples] == [f"ocrvqa/{split}/{key}-0", f"ocrvqa/{split}/{key}-1"]
                assert [s.response for s in samples] == ["Ann Author", "A Title"]
                assert rejects == []


def test_ocrvqa_covers_end_as_their_address_does_or_as_they_were_saved(root) -> None:
    gif = book(imageURL="http://host/I/51.gif?v=1.2")
    root.image("ocrvqa/images/b.jpg")
    root.image("ocrvqa/images/c.gif")
    root.image("ocrvqa/images/c.jpg")
    root.json("ocrvqa/dataset.json", {"a": gif, "b": gif, "c": gif})
    samples, _ = root.read("ocrvqa", "ocrvqa", "train")
    assert [s.images[0].path for s in samples[::2]] == [f"ocrvqa/images/{n}" for n in ("a.gif", "b.jpg", "c.gif")]


def test_ocrvqa_rejects_a_broken_book_as_a_whole(root) -> None:
    for values, reason in [
        ({"answers": ["Ann Author"]}, "questions and answers differ in number"),
        ({"questions": None}, "row lacks 'questions'"),
        ({"split": 4}, "'split' is neither 1, 2 nor 3"),
        ({"split": "train"}, "'split' is not of type int"),
        ({"imageURL": "http://host/cover"}, "'imageURL' has no file ending"),
        ({"imageURL": "http://[/x.jpg"}, "'imageURL' has no file ending"),
    ]:
        with root.case(values, reason):
            root.json("ocrvqa/dataset.json", {"1": book(**values), "2": book()})
            samples, (reject,) = root.read("ocrvqa", "ocrvqa", "train")
            assert ([s.id for s in samples], reject.row) == (["ocrvqa/train/2-0", "ocrvqa/train/2-1"], "1")
            assert reject.reason == reason


def test_ocrvqa_rejects_a_question_without_answer_alone_and_a_key_that_climbs_out(root) -> None:
    root.json("ocrvqa/dataset.json", {"1": book(answers=["", "A Title"]), "../2": book()})
    (sample,), (blank, outside) = root.read("ocrvqa", "ocrvqa", "train")
    assert (sample.id, blank.row, blank.reason) == ("ocrvqa/train/1-1", "1[0]", "row has an empty 'answer'")
    assert (outside.row, outside.reason) == ("../2", "image path leaves the data root")


def test_ocrvqa_does_not_know_other_splits(root) -> None:
    root.json("ocrvqa/dataset.json", {})
    with pytest.raises(DataError, match="no such split"):
        root.read("ocrvqa", "ocrvqa", "dev")


def okvqa_files(root, annotation: Any) -> None:
    question = {"image_id": 7, "question": "What breed is it?", "question_id": 75}
    root.json("okvqa/OpenEnded_mscoco_val2014_questions.json", {"questions": [question]})
    root.json("okvqa/mscoco_val2014_annotations.json", {"annotations": [annotation]})


def okvqa_answers(*texts: str) -> list[dict[str, Any]]:
    return [{"answer_id": i, "raw_answer": f"{t}s", "answer": t} for i, t in enumerate(texts, 1)]


def test_okvqa_has_no_majority_answer_so_it_is_counted(root) -> None:
    annotation = {"image_id": 7, "question_id": 75, "question_type": "four", "answer_type": "other"}
    okvqa_files(root, {**annotation, "answers": okvqa_answers("pug", "poodle", "poodle")})
    (sample,), _ = root.read("okvqa", "okvqa", "val")
    assert (sample.id, sample.source, sample.response) == ("okvqa/val/75", "okvqa", "poodle")
    assert sample.extras["answers"] == ["pug", "poodle", "poodle"]
    assert sample.extras["raw_answers"] == ["pugs", "poodles", "poodles"]
    assert sample.images[0].path == "coco/val2014/COCO_val2014_000000000007.jpg"


def test_okvqa_rejects_a_question_without_usable_answers(root) -> None:
    for answers, reason in [
        ([], "row has no answer"),
        (None, "row has no answer"),
        (["pug"], "an answer lacks its text 'answer'"),
        ("pug", "'answers' is not of type list"),
    ]:
        with root.case(answers, reason):
            okvqa_files(root, {"image_id": 7, "question_id": 75, "answers": answers})
            samples, (reject,) = root.read("okvqa", "okvqa", "val")
            assert (samples, reject.reason) == ([], reason)


def test_vqav2_and_okvqa_in_one_folder_are_not_mixed_up(root) -> None:
    okvqa_files(root, {"image_id": 7, "question_id": 75, "answers": okvqa_answers("pug")})
    with pytest.raises(DataError, match="no annotation file"):
        root.read("vqav2", "okvqa", "val")


def test_clevr_is_found_inside_the_folder_of_its_archive(root) -> None:
    row = {"question_index": 0, "image_filename": "CLEVR_val_000000.png", "question": "How many?", "answer": "3"}
    root.json("clevr/CLEVR_v1.0/questions/CLEVR_val_questions.json", {"questions": [row]})
    (sample,), _ = root.read("clevr", "clevr", "val")
    assert sample.images[0].path == "clevr/CLEVR_v1.0/images/val/CLEVR_val_000000.png"
