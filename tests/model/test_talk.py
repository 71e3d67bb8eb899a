"""Rewriter and assistant on a micro Flamingo: they say what the pipeline says, and ask as training did."""

from __future__ import annotations

import io
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from tests.unit.jobs.backends.test_huggingface import save_llava

import polite_flamingo as pf
from polite_flamingo.cli import main
from polite_flamingo.cli.talk import Chat
from polite_flamingo.errors import DataError, ImageError, PoliteFlamingoError
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.model.tokens import encode
from polite_flamingo.records import Image, RewritePair, Sample, Task, Turn
from polite_flamingo.rewrite.repair import RepairPolicy
from polite_flamingo.rewrite.revision import revise
from polite_flamingo.talk.generation import Speaker
from polite_flamingo.talk.models import find_model
from polite_flamingo.texts import cleaned
from polite_flamingo.train.dialogue import encode_samples, opening

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "talk.ipynb"
LENGTH = 12
GREEDY = GenerationSettings(max_new_tokens=LENGTH, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
NO_REPAIR = RepairPolicy(attempts=0)


@pytest.fixture(scope="module")
def models(micro_flamingo_folder: Path, loaded_micro: FlamingoBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the models of a profile, and of no project."""
    import torch

    from polite_flamingo.model.checkpoint import save_trainables
    from polite_flamingo.model.freezing import set_trainable

    bundle = deepcopy(loaded_micro)
    set_trainable(bundle, ["perceiver"])
    with torch.no_grad():
        for tensor in bundle.model.perceiver.parameters():
            tensor.add_(0.05)
    folder = tmp_path_factory.mktemp("home") / "models" / "tiny"
    for name, configuration in (("rewriter", {"rewriter": {}}), ("stage3", {"tune": {}})):
        save_trainables(bundle, folder / name, configuration=configuration)
    (folder / "backbones").mkdir()
    (folder / "backbones" / "flamingo").symlink_to(micro_flamingo_folder)
    return folder


@pytest.fixture(scope="module")
def rewriter(models: Path) -> Any:
    with pf.Rewriter.load(models / "rewriter", repair=NO_REPAIR) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def assistant(models: Path) -> Any:
    with pf.Assistant.load(models / "stage3") as loaded:
        yield loaded


def test_a_rewrite_is_the_pipelines_alone_in_a_batch_and_in_pieces(rewriter: Any, image_root: Path) -> None:
    asked = [("what color is the <image> star ?", "red", f"{index}.png") for index in range(4)]
    pairs = [
        RewritePair(str(n), "s", "t", "e", Task.VQA, question, (Image(name),), answer, "x", "n", "", 0)
        for n, (question, answer, name) in enumerate(asked)
    ]
    wanted = [g.text for g in revise(rewriter.speaker.model, pairs, GREEDY, image_root=image_root, batch_size=1)]
    items = [{"question": q, "answer": a, "images": [image_root / name]} for q, a, name in asked]
    said = list(rewriter.rewrite_all(items, max_tokens=LENGTH))
    assert [one.text for one in said] == wanted and len(set(wanted)) > 1
    alone = rewriter.rewrite(asked[1][0], "red", [str(image_root / "1.png")], max_tokens=LENGTH)
    assert alone == said[1]
    pieces = list(rewriter.stream(asked[1][0], "red", [image_root / "1.png"], max_tokens=LENGTH))
    assert len(pieces) > 1 and "".join(pieces) == alone.text


def test_a_fault_is_tried_again_and_then_the_raw_answer_stays(models: Path, rewriter: Any) -> None:
    repairing = pf.Rewriter(rewriter.speaker, rewriter.place, repair=RepairPolicy(attempts=1))
    said = repairing.rewrite("what shape ?", "square", max_tokens=2)
    assert (said.text, said.fault, said.attempts, said.kept_raw) == ("square", "unfinished", 1, True)


def test_tables_go_in_and_come_out(rewriter: Any, assistant: Any, image_root: Path) -> None:
    import pandas as pd

    rows = {"question": ["what ?", "what ?", "what ?"], "answer": ["a star", "", "a star"]}
    files = [str(image_root / "0.png"), None, "nowhere.png"]
    frame = rewriter.map(pd.DataFrame({**rows, "images": files}), max_tokens=4)
    assert list(frame["error"]) == ["", "the answer is empty", "no such image"]
    assert list(frame["polite"])[1:] == ["", "a star"]
    pictures = [{"bytes": (image_root / "0.png").read_bytes(), "path": None}] * 3
    columns = rewriter.map({**rows, "images": pictures}, max_tokens=4)  # as `datasets` gives them, undecoded
    assert columns["polite"][0] == frame["polite"][0]
    asked = pd.DataFrame({"question": ["what ?", "star " * 2000, "what ?"], "images": [*pictures[:2], "nowhere.png"]})
    answered = assistant.map(asked, max_tokens=4)
    assert [bool(error) for error in answered["error"]] == [False, True, True]
    assert answered["answer"][0] == assistant.ask("what ?", [image_root / "0.png"], max_tokens=4).text
    with pytest.raises(DataError, match="the answer is empty"):
        list(rewriter.rewrite_all([{"question": "what ?", "answer": " "}]))


def test_a_dialogue_is_told_in_the_tokens_it_was_trained_on(assistant: Any, image_root: Path) -> None:
    texts = ["what </s> is there ?", "a <image> star", "and now ?", "two", "how many ?"]
    turns = [
        {
            "role": ("user", "assistant")[n % 2],
            "content": text,
            "images": [image_root / f"{n}.png"] if n in (0, 2) else [],
        }
        for n, text in enumerate(texts)
    ]
    request = assistant.request(turns)
    tokenizer = assistant.speaker.model.tokenizer
    records = [
        Turn(("human", "assistant")[n % 2], t, {0: (0,), 2: (1,)}.get(n, ())) for n, t in enumerate([*texts, "x"])
    ]
    (segment,) = encode_samples(
        tokenizer, [Sample("s", "t", "e", "CC0", Task.DIALOGUE, tuple(records), (Image("a"), Image("b")))]
    )
    trained = [*opening(tokenizer), *segment.input_ids]
    ids = encode(tokenizer, request.prompt)
    assert ids == trained[: len(ids)] and len(trained) - len(ids) <= 2  # "x" and the end
    assert ids.count(assistant.speaker.model.media_token_id) == len(request.images) == 2
    whole = assistant.chat(turns, max_tokens=6)
    assert "".join(assistant.stream(turns, max_tokens=6)) == whole.text and whole.prompt_tokens == len(ids)


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ([], "ends with what the user asks"),
        ([{"role": "assistant", "content": "hello"}], "must alternate"),
        ([{"role": "user", "content": " "}], "no text"),
        ([{"role": "user", "content": "half \ud800"}], "lone surrogate"),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "images": [b"x"]}],
            "shows no images",
        ),
        ([{"role": "user", "content": "star " * 2000}], "fills the model's context"),
    ],
)
def test_turns_that_are_no_dialogue_are_refused(assistant: Any, turns: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(PoliteFlamingoError, match=words):
        assistant.chat(turns)


def test_filters_tell_their_verdicts_and_who_is_missing(rewriter: Any, image_root: Path) -> None:
    question, picture = "how many stars are there ?", image_root / "0.png"
    judged = rewriter.judge(question, "two", "There are [0.1, 0.2, 0.3, 0.4] two of them.", [picture])
    assert not judged.kept and judged.decision.failed == "leaked_boxes"
    report = json.loads(json.dumps(judged.to_json()))
    assert [one["filter"] for one in report["filters"]][:5] == ["length", "change", "sts", "paragraphs", "nli"]
    assert set(report["missing"]) == {"clip", "nli", "reward", "sts"}
    assert {one["filter"] for one in report["filters"] if not one["judged"]} == {"sts", "paragraphs", "nli"}


def test_a_dialogue_that_fills_the_context_forgets_its_oldest_turns_and_says_so_once(
    assistant: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = Chat(assistant, {"max_tokens": 4}, False, [])
    question = "what is there ? " * 12
    chat.run(iter([question] * 30), patient=False)
    kept = chat._turns
    assert 2 < len(kept) < 60 and kept[0]["role"] == "user"
    asked = assistant.request(kept[:-1], max_tokens=4)
    assert assistant.speaker.engine.count(asked.prompt, ()) + 4 <= assistant.speaker.engine.context
    assert capsys.readouterr().err.count("forgotten") == 1
    assert assistant.recent(kept[:1]) == kept[:1]


def test_a_chat_model_that_sees_tells_its_text_in_pieces(tmp_path: Path, image_root: Path) -> None:
    from polite_flamingo.jobs.backends.chat_model import load_chat_model
    from polite_flamingo.jobs.backends.huggingface import HuggingFaceBackend
    from polite_flamingo.jobs.settings import TextMachineSettings
    from polite_flamingo.talk.assistant import dialogue_of

    save_llava(tmp_path)
    speaker = Speaker(load_chat_model(str(tmp_path), "cpu", "float32"))
    chatty = pf.Assistant(speaker, find_model(f"hf:{tmp_path}"))
    turns = [{"role": "user", "content": "What color?", "images": [image_root / "0.png"]}]
    machine = TextMachineSettings(device="cpu", threads=1)
    for temperature in (0.0, 1.0):
        decoding = {"max_tokens": LENGTH, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        said = chatty.chat(turns, **decoding)
        pieces = list(chatty.stream(turns, **decoding))
        assert "".join(pieces) == said.text and len(pieces) > 1
    backend = HuggingFaceBackend(str(tmp_path), GREEDY, image_root, machine)
    (wanted,) = backend.answer([_Named(dialogue_of(turns), ("0.png",))])
    assert cleaned(chatty.chat(turns, max_tokens=LENGTH).text) == wanted.text


class _Named:
    """A dialogue whose images are files below a root, as a backend has them."""

    key, attempt, size = "a", 0, 1

    def __init__(self, dialogue: Any, images: tuple[str, ...]) -> None:
        self.messages, self.images = dialogue.messages, images


def test_the_command_line_says_what_python_says(
    models: Path, assistant: Any, image_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models.parents[1])
    picture = str(image_root / "1.png")
    said = assistant.ask("what is there ?", [picture], max_tokens=8)
    assert main(["ask", "--image", picture, "--max-tokens", "8", "--json", "what is there ?"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == said.text
    again = assistant.chat(
        [
            {"role": "user", "content": "what is there ?", "images": [picture]},
            {"role": "assistant", "content": said.text},
            {"role": "user", "content": "how many ?"},
        ],
        max_tokens=8,
    )
    lines = f"/image {picture}\nwhat is there ?\n\nhow many ?\n/new\n/image nowhere.png\nnot reached\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert main(["chat", "--max-tokens", "8", "--json"]) == 2
    captured = capsys.readouterr()
    assert [json.loads(line)["text"] for line in captured.out.splitlines()] == [said.text, again.text]
    assert "no such image" in captured.err and "nowhere.png" in captured.err
    asked = ["rewrite-one", "--image", picture, "--question", "what ?", "--answer", "a star", "--max-tokens", "4"]
    assert main([*asked, "--check"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("a star\n") and "FILTERS" in out and "No scorer: clip" in out


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # away from the models of a demo
    names: dict[str, Any] = {"__name__": "notebook"}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), NOTEBOOK.name, "exec"), names)
    assert names["mapped"].num_rows == 2


def test_texts_are_paths_to_python_alone(assistant: Any) -> None:
    with pytest.raises(ImageError, match="no such image"):
        assistant.ask("what ?", ["nowhere.png"])
