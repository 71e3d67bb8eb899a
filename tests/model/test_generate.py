"""Generation: a prompt's result does not depend on what shares its batch."""

from __future__ import annotations

import pytest
import torch

from polite_flamingo.errors import ModelError
from polite_flamingo.model.flamingo import load_flamingo
from polite_flamingo.model.generate import Prompt, generate
from polite_flamingo.model.settings import GenerationSettings

IMG = "<image><|endofchunk|>"
GREEDY = GenerationSettings(max_new_tokens=12, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
PROMPTS = [
    Prompt(f"### Human: {IMG}what color is the star ?\n### Assistant: ", ("0.png",), "one"),
    Prompt("### Human: a short text\n### Assistant: ", (), "text only"),
    Prompt(
        f"### Human: {IMG}{IMG}how many are there and what is in the top left ?\n### Assistant: ",
        ("1.png", "2.png"),
        "two",
    ),
    Prompt(
        f"### Human: {IMG}shape ?\n### Assistant: no\n### Human: {IMG}color ?\n### Assistant: ", ("3.png", "0.png"), "x"
    ),
    Prompt(f"{IMG}a", ("4.png",), "short"),
]


@pytest.fixture(scope="module")
def bundle(micro_flamingo_folder):
    return load_flamingo(micro_flamingo_folder)


@pytest.mark.parametrize(
    "settings",
    [
        GREEDY,
        GenerationSettings(max_new_tokens=12, num_beams=1, do_sample=True, top_k=20, top_p=0.9, no_repeat_ngram_size=3),
        GenerationSettings(max_new_tokens=8, num_beams=3, do_sample=False, no_repeat_ngram_size=3),
        GenerationSettings(max_new_tokens=8, num_beams=3, do_sample=True, no_repeat_ngram_size=3),
    ],
    ids=["greedy", "sampling", "beams", "beam sampling"],
)
def test_a_left_padded_batch_equals_single_prompts(bundle, image_root, settings):
    together = generate(bundle, PROMPTS, settings, image_root=image_root, batch_size=5)
    alone = [generate(bundle, [p], settings, image_root=image_root, batch_size=1)[0] for p in PROMPTS]
    assert together == alone
    assert len({g.text for g in together}) > 2  # the prompts matter


def test_greedy_equals_step_by_step_argmax_without_any_cache(bundle, image_root):
    from polite_flamingo.model.tokens import encode

    prompt = PROMPTS[2]
    ids = encode(bundle.tokenizer, prompt.text)
    tokens = bundle.encode_images(prompt.images, image_root)
    start = len(ids)
    for _ in range(6):
        with torch.no_grad():
            logits = bundle.model(torch.tensor([ids]), vision_tokens=tokens, image_index=torch.tensor([[0, 1]])).logits
        last = logits[0, -1]
        last[[bundle.media_token_id, bundle.tokenizer.pad_token_id]] = -torch.inf
        ids.append(int(last.argmax()))
    expected = bundle.tokenizer.decode(ids[start:], skip_special_tokens=True).strip()
    short = GenerationSettings(max_new_tokens=6, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
    assert generate(bundle, [prompt], short, image_root=image_root, batch_size=1)[0].text == expected


def test_the_image_decides(bundle, image_root):
    texts = {
        generate(
            bundle, [Prompt(f"### Human: {IMG}what ?", (f"{i}.png",))], GREEDY, image_root=image_root, batch_size=1
        )[0].text
        for i in range(6)
    }
    assert len(texts) > 1


def test_samples_differ_by_key_and_seed_and_repeat_by_both(bundle, image_root):
    def one(key: str, seed: int) -> str:
        settings = GenerationSettings(max_new_tokens=12, num_beams=1, top_k=0, top_p=1.0, temperature=1.5, seed=seed)
        return generate(bundle, [Prompt("### Human: a", (), key)], settings, image_root=image_root, batch_size=1)[
            0
        ].text

    assert one("a", 1) == one("a", 1)
    assert len({one("a", 1), one("b", 1), one("a", 2)}) == 3


def test_gumbel_noise_draws_from_the_distribution():
    from polite_flamingo.model.sampling import gumbel

    log_p = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(4000, 4)
    generators = [torch.Generator().manual_seed(i) for i in range(4000)]
    counts = torch.bincount((log_p + gumbel(generators, log_p)).argmax(dim=1), minlength=4) / 4000
    assert torch.allclose(counts, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.03)


def test_an_end_of_sequence_stops_and_a_full_length_is_told(bundle, image_root):
    lm = bundle.model.lang_encoder
    reasons = {g.finish_reason for g in generate(bundle, PROMPTS, GREEDY, image_root=image_root, batch_size=3)}
    assert reasons <= {"stop", "length"}
    head = lm.get_output_embeddings()
    hook = head.register_forward_hook(
        lambda module, args, out: out.index_fill(-1, torch.tensor([bundle.tokenizer.eos_token_id]), 1e4)
    )
    try:
        stopped = generate(bundle, PROMPTS[:2], GREEDY, image_root=image_root, batch_size=2)
    finally:
        hook.remove()
    assert [(g.text, g.finish_reason, g.tokens) for g in stopped] == [("", "stop", 0)] * 2


def test_image_tokens_are_never_generated(bundle, image_root):
    head = bundle.model.lang_encoder.get_output_embeddings()
    hook = head.register_forward_hook(lambda m, a, out: out.index_fill(-1, torch.tensor([bundle.media_token_id]), 1e4))
    try:
        plain = generate(bundle, PROMPTS, GREEDY, image_root=image_root, batch_size=5)
    finally:
        hook.remove()
    assert plain == generate(bundle, PROMPTS, GREEDY, image_root=image_root, batch_size=5)


def test_a_prompt_that_fills_the_context_gives_nothing_and_says_so(bundle, image_root):
    long = Prompt("a red star " * 400)
    results = generate(bundle, [long, PROMPTS[0]], GREEDY, image_root=image_root, batch_size=2)
    assert (results[0].text, results[0].finish_reason) == ("", "length")
    assert results[1] == generate(bundle, [PROMPTS[0]], GREEDY, image_root=image_root, batch_size=1)[0]


def test_a_prompt_must_show_its_images(bundle, image_root):
    with pytest.raises(ModelError, match="shows 0 images and has 1"):
        generate(bundle, [Prompt("no token", ("0.png",))], GREEDY, image_root=image_root, batch_size=1)


def test_the_model_is_left_unconditioned(bundle, image_root):
    generate(bundle, PROMPTS, GREEDY, image_root=image_root, batch_size=5)
    lm = bundle.model.lang_encoder
    assert not lm._use_cached_vision_x
    assert not lm.is_conditioned()
    assert all(block.attn._key_value is None for block in lm.gated_cross_attn_layers if block is not None)
