"""Hugging Face models: a LLaVA and a Llama of a few thousand random parameters each, saved and loaded as real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.model.micro import micro_tokenizer
from tests.unit.jobs.machine import machine

from polite_flamingo.errors import ConfigError, ModelError
from polite_flamingo.jobs.backends.huggingface import HuggingFaceBackend
from polite_flamingo.jobs.backends.load import BackendOptions, load_backend
from polite_flamingo.jobs.backends.row_noise import RowNoise
from polite_flamingo.jobs.backends.text import ChatQuestion
from polite_flamingo.jobs.questions import Failure
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.prompts.commands import COMMANDS, DistortionPrompt
from polite_flamingo.records import Generated
from polite_flamingo.rewrite.question import RewriteQuestion

TEMPLATE = """{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}{% for p in \
m.content %}{% if p.type == 'image' %}<image>{% else %}{{ p.text }}{% endif %}{% endfor %}{% endif %}{% if not \
loop.last or m.role != 'assistant' %}</{{ m.role }}>{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>\
{% endif %}"""
GREEDY = GenerationSettings(max_new_tokens=8, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
SAMPLED = GenerationSettings.of(GREEDY, do_sample=True, top_k=0, top_p=1.0)
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
QUESTIONS = [
    RewriteQuestion("a", "What color?", "red", ("0.png",)),
    RewriteQuestion("b", "How many circles are in there?", "two small circles", ("1.png", "2.png")),
    RewriteQuestion("c", "What shape is the large one in the top left?", "square", ("3.png",)),
    RewriteQuestion("d", "Is it red?", "yes"),
    RewriteQuestion("e", "And now?", "no", ("0.png",)),
]


def _text_config(tokenizer: Any, room: int = 2048) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=room, initializer_range=0.3, bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, **SIZES,
    )  # fmt: skip


def save_llava(folder: Path) -> None:
    import torch
    from transformers import CLIPImageProcessor, CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration
    from transformers.models.llava.processing_llava import LlavaProcessor

    tokenizer = micro_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"], "pad_token": "<pad>"})
    pixels = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    LlavaProcessor(
        pixels, tokenizer, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=16, patch_size=8, initializer_factor=5.0, **SIZES),
        text_config=_text_config(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():  # so that what an image shows matters
        for weight in model.model.multi_modal_projector.parameters():
            weight.mul_(30)
    model.save_pretrained(folder)


def save_llama(folder: Path, room: int = 4096) -> None:
    import torch
    from transformers import LlamaForCausalLM

    tokenizer = micro_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(_text_config(tokenizer, room)).save_pretrained(folder)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    save_llava(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    save_llama(folder)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    for index, color in enumerate(("red", "green", "blue", "white")):
        Image.new("RGB", (20 + 5 * index, 24), color).save(folder / f"{index}.png")
    return folder


def made(folder: Path, images: Path, settings: GenerationSettings = GREEDY, size: int = 8) -> HuggingFaceBackend:
    return HuggingFaceBackend(str(folder), settings, images, machine(size))


def texts(answers: Sequence[Generated]) -> list[str]:
    return [answer.text for answer in answers]


# Images


def test_a_model_with_images_answers_in_order_whatever_the_batch(llava: Path, images: Path) -> None:
    together = made(llava, images).answer(QUESTIONS)
    alone = [made(llava, images, size=1).answer([request])[0] for request in reversed(QUESTIONS)][::-1]
    assert together == alone
    assert len(set(texts(together))) > 2


def test_what_an_image_shows_changes_the_answer(llava: Path, images: Path) -> None:
    answers = made(llava, images).answer([replace(QUESTIONS[0], images=(f"{i}.png",)) for i in range(4)])
    assert len(set(texts(answers))) > 1


def test_sampled_answers_follow_seed_key_and_attempt_alone(llava: Path, images: Path) -> None:
    backend = made(llava, images, SAMPLED)
    together = backend.answer(QUESTIONS)
    assert together == [backend.answer([request])[0] for request in QUESTIONS]
    assert together[0] != backend.answer([replace(QUESTIONS[0], key="other")])[0]
    assert together[0] != backend.answer([replace(QUESTIONS[0], attempt=1)])[0]
    assert together[0] != made(llava, images, GenerationSettings.of(SAMPLED, seed=1)).answer(QUESTIONS[:1])[0]


def test_a_repair_samples_although_the_settings_are_greedy(llava: Path, images: Path) -> None:
    backend = made(llava, images)
    tries = backend.answer([replace(QUESTIONS[0], attempt=attempt) for attempt in (0, 0, 1, 2)])
    assert tries[0] == tries[1]
    assert len({t.text for t in tries}) == 3


def test_an_image_token_in_the_data_is_taken_apart(llava: Path, images: Path) -> None:
    request = RewriteQuestion("k", "Is <image> a word?", "</s>", ("0.png",))
    text = made(llava, images).model.prompt(request)
    assert text.count("<image>") == 1
    assert "Is image a word?" in text
    assert "</s>" not in text


def test_a_broken_image_concerns_its_record_alone(llava: Path, images: Path) -> None:
    answers = made(llava, images).answer([QUESTIONS[0], RewriteQuestion("x", "Q?", "a", ("absent.png",))])
    assert answers[0].finish_reason in ("stop", "length")
    assert answers[1] == Failure("error: image is missing")


def test_where_memory_runs_out_halves_give_the_same_answers(
    llava: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    expected = made(llava, images).answer(QUESTIONS)
    decode, sizes = HuggingFaceBackend._decode, []

    def small(self: HuggingFaceBackend, loaded: Any, batch: Sequence[Any]) -> Any:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(self, loaded, batch)

    monkeypatch.setattr(HuggingFaceBackend, "_decode", small)
    assert made(llava, images).answer(QUESTIONS) == expected
    assert max(sizes) > 1


def test_one_request_too_many_for_the_memory_is_an_error_of_ours(
    llama: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def never(self: HuggingFaceBackend, loaded: Any, batch: Sequence[Any]) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(HuggingFaceBackend, "_decode", never)
    with pytest.raises(ModelError, match="does not fit into memory"):
        made(llama, images).answer(QUESTIONS[3:4])


# Text


def test_a_model_of_text_alone_refuses_images_and_names_what_is_needed(llama: Path, images: Path) -> None:
    with pytest.raises(ModelError, match="image-text-to-text"):
        made(llama, images).answer(QUESTIONS)


def test_without_a_chat_template_a_distortion_prompt_is_the_papers(llama: Path, images: Path) -> None:
    prompt = DistortionPrompt("What color?", "The car is red.", COMMANDS[5])
    assert made(llama, images).model.prompt(ChatQuestion("k", tuple(prompt.messages))) == prompt.text


def test_a_chat_template_is_used_and_the_promise_continued(llama: Path, images: Path) -> None:
    prompt = DistortionPrompt("What color?", "The car is red.")
    backend = made(llama, images)
    backend.model.tokenizer.chat_template = TEMPLATE
    text = backend.model.prompt(ChatQuestion("k", tuple(prompt.messages)))
    assert text.startswith("<system>A chat between")
    assert text.rstrip().endswith('finishing this response:\n\n"')


def test_a_prompt_that_fills_the_context_is_that_records_error(images: Path, tmp_path: Path) -> None:
    save_llama(tmp_path, room=64)
    short, long = ChatQuestion("s", ({"role": "user", "content": "red?"},)), RewriteQuestion("l", "a" * 100, "b")
    answers = made(tmp_path, images).answer([long, short])
    assert answers[0].reason.startswith("error: the prompt of ")
    assert answers[1].finish_reason in ("stop", "length")


def test_a_row_with_little_room_does_not_cut_the_others(images: Path, tmp_path: Path) -> None:
    save_llama(tmp_path, room=64)
    settings = GenerationSettings.of(GREEDY, max_new_tokens=20)
    requests = [ChatQuestion(str(n), ({"role": "user", "content": "red " * n},)) for n in (1, 45)]
    together = made(tmp_path, images, settings).answer(requests)
    assert together == [made(tmp_path, images, settings).answer([r])[0] for r in requests]
    assert together[1].tokens < 20


def test_a_language_model_distorts_each_prompt_by_its_own_randomness(llama: Path, images: Path) -> None:
    prompts = [DistortionPrompt("What color?", "The car is red."), DistortionPrompt("How many?", "Two cars.")]
    requests = [ChatQuestion(key, tuple(p.messages)) for key, p in zip("abcb", prompts * 2, strict=True)]
    backend = made(llama, images, GenerationSettings.of(GREEDY, do_sample=True))
    drafts = backend.answer(requests)
    assert drafts[1] == drafts[3]
    assert drafts[0] != drafts[2]
    assert backend.answer(requests[1:2]) == drafts[1:2]


# Loading


def test_a_hub_model_needs_a_revision(images: Path) -> None:
    with pytest.raises(ConfigError, match="revision"):
        load_backend("hf:someone/some-model", GREEDY, BackendOptions(images, machine(8)))


def test_a_folder_without_a_model_is_an_error_of_ours(tmp_path: Path, images: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        made(tmp_path, images).answer(QUESTIONS[:1])


def test_pickled_weights_are_refused(llama: Path, tmp_path: Path, images: Path) -> None:
    import torch
    from safetensors.torch import load_file

    for file in llama.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(load_file(llama / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        made(tmp_path, images).answer(QUESTIONS[3:4])


def test_the_identity_follows_weights_and_settings(llama: Path, images: Path, tmp_path: Path) -> None:
    before = made(llama, images).identity
    assert made(llama, images, size=3).identity == before
    assert made(llama, images, SAMPLED).identity != before
    save_llama(tmp_path / llama.name, room=128)
    assert made(tmp_path / llama.name, images).identity != before


# Sampling


def noise_of(rows: int, **given: Any) -> RowNoise:
    return RowNoise(range(rows), **{"temperature": 1.0, "top_k": 0, "top_p": 1.0, **given})


def test_sampling_follows_the_models_probabilities() -> None:
    import torch

    scores = torch.log(torch.tensor([0.5, 0.3, 0.2])).repeat(4000, 1)
    drawn = noise_of(4000)(torch.zeros(4000, 1), scores).argmax(-1)
    shares = torch.bincount(drawn, minlength=3) / 4000
    assert torch.allclose(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.03)


def test_the_narrowest_sampling_is_greedy() -> None:
    import torch

    scores = torch.log(torch.tensor([0.3, 0.5, 0.2])).repeat(100, 1)
    for setting in ({"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-6}):
        drawn = noise_of(100, **setting)(torch.zeros(100, 1), scores).argmax(-1)
        assert set(drawn.tolist()) == {1}, setting


def test_a_row_without_a_seed_stays_greedy_beside_others() -> None:
    import torch

    scores = torch.zeros(2, 50)
    scores[:, 7] = 0.1
    out = RowNoise([None, 3], 1.0, 0, 1.0)(torch.zeros(2, 1), scores)
    assert torch.equal(out[0], scores[0])
    assert not torch.equal(out[1], scores[1])
