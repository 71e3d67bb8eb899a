"""A registered model answers rows as the pipeline's own generation does, and opens nothing that a client names."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.errors import DataError, ImageError, ModelError
from polite_flamingo.evaluate.answers import ask
from polite_flamingo.launch.registration import CODE, package_inputs
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.records import Image, RewritePair, Sample, Task, Turn
from polite_flamingo.registry.answering import load_answering
from polite_flamingo.registry.kinds import KINDS, OUTPUTS
from polite_flamingo.registry.parts import ROOT_VARIABLE, folder_md5
from polite_flamingo.rewrite.revision import revise

DECODING = GenerationSettings(max_new_tokens=12, num_beams=1, do_sample=True, no_repeat_ngram_size=0, seed=3)
CONFIG: dict[str, Any] = {
    "decoding": DECODING.model_dump(), "device": "cpu", "dtype": "float32", "batch_size": 4, "parts": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(
    micro_flamingo_folder: Path, loaded_micro: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    import torch

    from polite_flamingo.model.checkpoint import save_trainables
    from polite_flamingo.model.freezing import set_trainable

    bundle = deepcopy(loaded_micro)
    set_trainable(bundle, ["perceiver"])
    with torch.no_grad():
        for tensor in bundle.model.perceiver.parameters():
            tensor.add_(0.05)
    adapter = tmp_path_factory.mktemp("trained") / "stage3"
    save_trainables(bundle, adapter)
    return {"base": micro_flamingo_folder, "adapter": adapter}


def encoded(image_root: Path, *names: str) -> list[str]:
    return [base64.b64encode((image_root / name).read_bytes()).decode() for name in names]


def sample(index: int, *images: str) -> Sample:
    turns = (Turn("human", "what color is the star ?", tuple(range(len(images)))), Turn("assistant", "red"))
    return Sample(f"s{index}", "t", "e", "CC0", Task.VQA, turns, tuple(map(Image, images)))


@pytest.mark.slow
def test_a_loaded_version_says_what_the_pipeline_says(
    weights: dict[str, Path], image_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import pandas as pd

    from polite_flamingo.model.flamingo import load_flamingo
    from polite_flamingo.tracking.registry import ModelPackage, ModelRegistry

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    kind = KINDS["assistant"]
    inputs, example = package_inputs(kind)
    made = ModelRegistry().register(
        ModelPackage(
            *(kind.registered, kind.what, CODE, weights, {**CONFIG, "kind": kind.name}, inputs, list(OUTPUTS)),
            parameters=DECODING.model_dump(),
            example=example,
            requirements=["torch"],
            description="",
            tags={"content": "micro"},
        )
    )
    model = mlflow.pyfunc.load_model(f"models:/{made.name}/{made.number}")
    samples = [sample(0, "0.png"), sample(1, "1.png", "2.png"), sample(2)]
    rows = [
        {"question": s.instruction, "images": encoded(image_root, *(i.path for i in s.images)), "id": s.id}
        for s in samples
    ]
    bundle = load_flamingo(weights["base"], trainables=weights["adapter"])
    wanted = [a.rewritten for a in ask(bundle, samples, DECODING, image_root=image_root, batch_size=4)]
    assert model.predict(pd.DataFrame(rows))["text"].tolist() == wanted
    assert len(set(wanted)) > 1
    assert len(model.predict(pd.DataFrame(rows), params={"max_new_tokens": 1})["text"][0]) < len(wanted[0])
    assert model.predict(model.input_example)["finish_reason"][0] in ("stop", "length")
    assert model.predict(pd.DataFrame([{"question": "what is there ?"}]))["text"].tolist() != []
    (served,) = (tmp_path / "mlartifacts").rglob("serving_input_example.json")
    assert json.loads(served.read_text())["dataframe_split"]["columns"] == ["question", "images", "id"]


def test_a_rewriter_is_asked_as_in_its_training(weights: dict[str, Path], image_root: Path) -> None:
    from polite_flamingo.model.flamingo import load_flamingo

    answering = load_answering(KINDS["rewriter"], weights["base"], weights["adapter"], CONFIG)
    pair = RewritePair("p", "s", "t", "e", Task.VQA, "what color ?", (Image("0.png"),), "red", "It is red.", "n", "", 0)
    bundle = load_flamingo(weights["base"], trainables=weights["adapter"])
    (wanted,) = revise(bundle, [pair], DECODING, image_root=image_root, batch_size=1)
    row = {"instruction": "what color ?", "draft": "red", "images": encoded(image_root, "0.png"), "id": "p"}
    assert answering.answer([row]) == [wanted]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(answering.answer, [[row]] * 8)) == [[wanted]] * 8


@pytest.fixture(scope="module")
def assistant(weights: dict[str, Path]) -> Any:
    return load_answering(KINDS["assistant"], weights["base"], weights["adapter"], CONFIG)


SVG = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode()


@pytest.mark.parametrize("image", ["/etc/passwd", "0.png", "http://host/0.png", "file:///etc/hostname", "", SVG])
def test_whatever_is_no_image_in_base64_is_refused(assistant: Any, image: str) -> None:
    with pytest.raises(ImageError, match="no image in base64") as caught:
        assistant.answer([{"question": "what ?"}, {"question": "what ?", "images": [image]}])
    assert "row 2, images" in str(caught.value)


def test_a_torn_image_is_refused_and_a_data_address_is_taken(assistant: Any, image_root: Path) -> None:
    (text,) = encoded(image_root, "0.png")
    torn = base64.b64encode(base64.b64decode(text)[:200]).decode()
    with pytest.raises(ImageError):
        assistant.answer([{"question": "what ?", "images": [torn]}])
    plain, address = (
        assistant.answer([{"question": "what ?", "images": [form], "id": "a"}])[0]
        for form in (text, f"data:image/png;base64,{text}")
    )
    assert plain == address


def test_a_huge_image_is_refused_before_it_is_decoded(assistant: Any) -> None:
    from PIL import Image as PILModule

    buffer = io.BytesIO()
    PILModule.new("1", (1, 1)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[16:24] = struct.pack(">II", 40_000, 40_000)  # what its head claims
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(ImageError):
        assistant.answer([{"question": "what ?", "images": [base64.b64encode(data).decode()]}])


@pytest.mark.parametrize(
    ("row", "decoding", "words"),
    [({"images": []}, {}, "row 1, question"), ({"question": "what ?"}, {"temperature": 0}, "temperature")],
)
def test_what_is_missing_or_out_of_range_is_named(assistant: Any, row: Any, decoding: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        assistant.answer([row], **decoding)


def test_weights_of_another_base_are_refused(
    weights: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.model.micro import build_micro

    from polite_flamingo.model.flamingo import save_flamingo
    from polite_flamingo.registry.parts import located

    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    save_flamingo(build_micro(seed=5), tmp_path / "other")
    part = {"path": "other", "md5": folder_md5(tmp_path / "other"), "commit": "abc"}
    with pytest.raises(ModelError):
        load_answering(KINDS["assistant"], located("base", {}, {"base": part}), weights["adapter"], CONFIG)
