"""Which image a text attends to: OpenFlamingo 2 (the one before) and OpenFlamingo 1 (the one after)."""

from __future__ import annotations

import pytest
import torch
from tests.model.families import build_family

from polite_flamingo.model.architecture import CachedCrossAttention, MaskedCrossAttention
from polite_flamingo.model.flamingo import load_flamingo, save_flamingo
from polite_flamingo.model.generate import Prompt, generate
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.model.tokens import encode, images_last
from polite_flamingo.prompts.templates import assistant_prompt
from polite_flamingo.records import Image as Picture
from polite_flamingo.records import Sample, Task, Turn
from polite_flamingo.train.dialogue import encode_samples, opening
from polite_flamingo.train.store import token_key

IMG = "<image><|endofchunk|>"
PATTERNS = ["..I..I..", "I.......", ".......I", "........", "III.....", ".I.I.I.I"]


def image_after(pattern):
    """OpenFlamingo 1: an image token sees its own image, text the next image after it, 0: none."""
    total, seen, numbers = pattern.count("I"), 0, []
    for sign in pattern:
        seen += sign == "I"
        number = seen if sign == "I" else seen + 1
        numbers.append(number if number <= total else 0)
    return numbers


def attended(attention, x, media, numbers):
    """Cross-attention written out token by token: each attends to the latents of one image."""
    heads, width = attention.heads, attention.to_q.out_features // attention.heads
    query = attention.to_q(attention.norm(x)).view(x.shape[0], heads, width)
    out = torch.zeros_like(query)
    for place, number in enumerate(numbers):
        if number:
            key, value = attention.to_kv(media[number - 1]).chunk(2, dim=-1)
            key, value = (t.view(-1, heads, width).transpose(0, 1) for t in (key, value))
            weights = torch.softmax(key @ query[place][:, :, None] * width**-0.5, dim=1)
            out[place] = (weights * value).sum(dim=1)
    return attention.to_out(out.flatten(1))


def attention_of(attend_previous):
    torch.manual_seed(0)
    attention = CachedCrossAttention(dim=32, dim_visual=16, dim_head=8, heads=2)
    attention.attend_previous = attend_previous
    return attention


def test_the_old_mask_is_that_of_openflamingo_1():
    attention, x, media = attention_of(False), torch.randn(1, 8, 32), torch.randn(1, 4, 3, 16)
    for pattern in PATTERNS:
        where = torch.tensor([[sign == "I" for sign in pattern]])
        with torch.no_grad():
            ours = attention(x, media, media_locations=where)
            attention.forget()
            expected = attended(attention, x[0], media[0], image_after(pattern))
        assert torch.allclose(ours[0], expected, atol=1e-6), pattern


def test_the_new_mask_is_that_of_openflamingo_2():
    attention, x, media = attention_of(True), torch.randn(1, 8, 32), torch.randn(1, 4, 3, 16)
    theirs = MaskedCrossAttention(dim=32, dim_visual=16, dim_head=8, heads=2)
    theirs.load_state_dict(attention.state_dict())
    for pattern in PATTERNS:
        where = torch.tensor([[sign == "I" for sign in pattern]])
        with torch.no_grad():
            ours = attention(x, media, where)
            attention.forget()
            assert torch.allclose(ours, theirs(x, media, media_locations=where), atol=1e-6), pattern


def test_text_that_goes_on_after_the_last_image_sees_it_in_the_new_mask_alone():
    for attend_previous in (True, False):
        attention, x, media = attention_of(attend_previous), torch.randn(1, 2, 32), torch.randn(1, 1, 3, 16)
        with torch.no_grad():
            out = attention(x, media, torch.tensor([[True, False]]), use_cached_media=True)
        assert bool(out.abs().sum() > 0) is attend_previous


@pytest.mark.parametrize("attend_previous", [True, False])
def test_decoding_step_by_step_gives_the_logits_of_the_whole_text(attend_previous, image_root):
    bundle = build_family("llama", attend_previous=attend_previous)
    x = torch.tensor([bundle.tokenizer(f"red {IMG}a star is in", add_special_tokens=False).input_ids])
    tokens = bundle.encode_images(["0.png"], image_root)
    cut = x.shape[1] - 3
    with torch.no_grad():
        whole = bundle.model(x, vision_tokens=tokens, image_index=torch.tensor([[0]])).logits
        with bundle.model.showing(bundle.model.latents(tokens)[None]) as lm:
            part = lm(x[:, :cut], use_cache=True)
            assert torch.allclose(part.logits, whole[:, :cut], atol=1e-4)
            for place in range(cut, x.shape[1]):
                part = lm(x[:, place : place + 1], past_key_values=part.past_key_values, use_cache=True)
                assert torch.allclose(part.logits[:, -1], whole[:, place], atol=1e-4)


@pytest.mark.parametrize("attend_previous", [True, False])
@pytest.mark.parametrize("beams", [1, 2])
def test_an_answer_does_not_depend_on_its_batch(attend_previous, beams, image_root):
    bundle = build_family("llama", attend_previous=attend_previous)
    start = "the answer and the question are in there : how many small star left of the large circle "
    prompts = [Prompt(f"{start}{IMG}what {word}", (f"{i}.png",)) for i, word in enumerate(("color", "shape", "star"))]
    prompts.append(Prompt(start + "red"))
    settings = GenerationSettings(max_new_tokens=8, num_beams=beams, do_sample=False, no_repeat_ngram_size=0)
    together = generate(bundle, prompts, settings, image_root=image_root, batch_size=4)
    alone = [generate(bundle, [p], settings, image_root=image_root, batch_size=1)[0] for p in prompts]
    assert [a.text for a in together] == [a.text for a in alone]


def test_the_masks_are_kept_in_the_folder(tmp_path):
    save_flamingo(build_family("llama", attend_previous=False), tmp_path)
    bundle = load_flamingo(tmp_path)
    assert bundle.config.attend_previous is False
    assert not any(b.attn.attend_previous for b in bundle.model.lang_encoder.gated_cross_attn_layers)


def test_a_model_that_looks_ahead_gets_its_images_after_the_text_in_training_and_generation(tmp_path):
    bundle = build_family("llama", attend_previous=False)
    save_flamingo(bundle, tmp_path)
    tokenizer = load_flamingo(tmp_path).tokenizer
    turns = (Turn("human", "what color ?", (0,)), Turn("assistant", "red"), Turn("human", "and two", (1,)))
    prompt = assistant_prompt(turns, end=tokenizer.eos_token)
    text = tokenizer.decode(encode(tokenizer, prompt), clean_up_tokenization_spaces=False)
    assert f"### Human: what color ? {IMG}\n### Assistant: red</s>\n### Human: and two {IMG}\n### Assistant: " in text
    images = (Picture("a.png"), Picture("b.png"))
    sample = Sample("s", "x", "train", "cc", Task.VQA, (*turns, Turn("assistant", "blue")), images)
    learned = list(encode_samples(tokenizer, [sample])[0].input_ids)
    asked = encode(tokenizer, prompt)[len(opening(tokenizer)) :]
    assert learned[: len(asked)] == asked
    plain = build_family("llama").tokenizer
    assert encode(plain, prompt) != encode(tokenizer, prompt) and not images_last(plain)
    assert token_key(plain) != token_key(tokenizer)
