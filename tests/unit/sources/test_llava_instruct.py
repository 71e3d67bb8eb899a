from polite_flamingo.records import Task


def row(first: str) -> dict[str, object]:
    turns = [{"from": "human", "value": first}, {"from": "gpt", "value": "A cat."}]
    return {"id": "000000000007", "image": "000000000007.jpg", "conversations": turns}


def test_the_image_token_may_come_first_or_last(root) -> None:
    for first in ["<image>\nWhat is it?", "What is it?\n<image>"]:
        with root.case(first):
            root.json("llava/complex_reasoning_77k.json", [row(first)])
            (sample,), _ = root.read("llava_instruct", "llava", "train")
            assert (sample.instruction, sample.turns[0].images) == ("What is it?", (0,))


def test_an_image_at_hand_under_neither_year_has_its_2014_name(root) -> None:
    root.json("llava/conversation_58k.json", [row("<image>\nHm?")])
    (sample,), _ = root.read("llava_instruct", "llava", "train")
    assert sample.images[0].path == "coco/train2014/COCO_train2014_000000000007.jpg"


def test_the_mixed_file_is_read_only_where_the_three_are_absent(root) -> None:
    for name in ("llava_instruct_150k.json", "llava_instruct_80k.json"):
        root.json(f"llava/{name}", [row("<image>\nHm?")])
    (sample,), _ = root.read("llava_instruct", "llava", "train")
    assert (sample.id, sample.task) == ("llava_instruct/train/llava_instruct-000000000007", Task.DIALOGUE)
    root.json("llava/detail_23k.json", [row("<image>\nHm?")])
    (sample,), _ = root.read("llava_instruct", "llava", "train")
    assert sample.id == "llava_instruct/train/detail-000000000007"
