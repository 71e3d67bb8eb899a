from typing import Any

RAW = "sharegpt/sg_90k_part1.json"
HTML = '<div class="markdown prose"><p>A <strong>cat</strong> &amp; a dog.</p></div>'


def turn(role: str, text: str) -> dict[str, str]:
    return {"from": role, "value": text}


def conversation(*turns: dict[str, str], **values: Any) -> dict[str, Any]:
    return {"id": "aB3", "conversations": list(turns), **values}


def test_raw_answers_become_markdown_and_questions_stay_as_they_are(root) -> None:
    root.json(RAW, [conversation(turn("human", "<div>?</div>"), turn("gpt", HTML))])
    (sample,), rejects = root.read("sharegpt", "sharegpt", "train")
    assert [t.text for t in sample.turns] == ["<div>?</div>", "A **cat** & a dog."]
    assert (sample.id, rejects) == ("sharegpt/train/sg_90k_part1-aB3", [])


def test_html_in_a_cleaned_file_is_what_the_talk_is_about(root) -> None:
    name = "sharegpt/HTML_cleaned_raw_dataset/sg_90k_part1_html_cleaned.json"
    root.json(name, [conversation(turn("human", "A page?"), turn("gpt", "<p>Hello</p>"))])
    (sample,), _ = root.read("sharegpt", "sharegpt", "train")
    assert sample.response == "<p>Hello</p>"


def test_only_the_best_form_of_the_same_conversations_is_read(root) -> None:
    rows = [conversation(turn("human", "Hi"), turn("gpt", "Hello."))]
    for name in ("ShareGPT_V3_unfiltered_cleaned_split.json", "ShareGPT_V2_unfiltered_cleaned_split.json"):
        root.json(f"sharegpt/{name}", rows)
    root.json(RAW, rows)
    (sample,), _ = root.read("sharegpt", "sharegpt", "train")
    assert sample.id == "sharegpt/train/ShareGPT_V3_unfiltered_cleaned_split-aB3"


def test_an_opening_answer_and_a_closing_question_are_left_off(root) -> None:
    turns = [turn("gpt", "As I said."), turn("human", "Go on"), turn("gpt", "Sure."), turn("human", "And?")]
    root.json(RAW, [conversation(*turns)])
    (sample,), _ = root.read("sharegpt", "sharegpt", "train")
    assert [t.text for t in sample.turns] == ["Go on", "Sure."]


def test_every_name_of_a_role_is_known(root) -> None:
    for pair in [("user", "chatgpt"), ("human", "bing"), ("user", "bard"), ("Human", "assistant")]:
        with root.case(pair):
            root.json(RAW, [conversation(turn("system", "Be kind."), turn(pair[0], "Hi"), turn(pair[1], "Hello."))])
            (sample,), _ = root.read("sharegpt", "sharegpt", "train")
            assert [t.role for t in sample.turns] == ["human", "assistant"]
            assert sample.extras == {"system": "Be kind."}


def test_ids_that_repeat_stay_apart(root) -> None:
    root.json(RAW, [conversation(turn("human", "Hi"), turn("gpt", "Hello."))] * 2)
    samples, _ = root.read("sharegpt", "sharegpt", "train")
    assert [s.id[-5:] for s in samples] == ["1-aB3", "aB3-2"]


def test_a_conversation_that_cannot_be_used_loses_only_itself(root) -> None:
    for row, reason in [
        (conversation(), "conversation has no answered question"),
        (conversation(turn("gpt", "Hello.")), "conversation has no answered question"),
        (conversation(turn("human", "Hi")), "conversation has no answered question"),
        (conversation(turn("human", "Hi"), turn("human", "Hi?")), "turns must alternate human, assistant"),
        (conversation(turn("human", "Hi"), turn("gpt", "")), "row has an empty 'value'"),
        (conversation(turn("human", "Hi"), turn("gpt", "<div><button>Copy</button></div>")), "empty answer"),
        (conversation(turn("robot", "Hi")), "turn is of an unknown role"),
        (conversation(id=None), "row lacks 'id'"),
        ({"id": "x"}, "row lacks 'conversations'"),
        ("text", "row is not an object"),
    ]:
        with root.case(row, reason):
            root.json(RAW, [row, conversation(turn("human", "Hi"), turn("gpt", "Hello."))])
            samples, (reject,) = root.read("sharegpt", "sharegpt", "train")
            assert (len(samples), reject.file, reject.row, reject.reason) == (1, RAW, "0", reason)
