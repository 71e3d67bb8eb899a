"""From a spec to a backend, and the Flamingo behind it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
from tests.model.micro import build_micro
from tests.unit.jobs.machine import machine

from polite_flamingo.errors import ConfigError, ModelError
from polite_flamingo.jobs.backends.endpoint import EndpointBackend
from polite_flamingo.jobs.backends.load import BackendOptions, load_backend
from polite_flamingo.jobs.backends.text import ChatQuestion, TextBackend
from polite_flamingo.model.generate import Prompt, generate
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.prompts.templates import rewriter_prompt
from polite_flamingo.rewrite.question import RewriteQuestion

GREEDY = GenerationSettings(max_new_tokens=12, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
QUESTIONS = [
    RewriteQuestion("a", "What color is the circle?", "red", ("0.png",)),
    RewriteQuestion("b", "How many <image>?", "two", ("0.png", "1.png")),
    RewriteQuestion("c", "And now?", "no", ("1.png",)),
]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> BackendOptions:
    """A micro Flamingo, a rewriter with another perceiver, and two images."""
    import torch
    from PIL import Image

    from polite_flamingo.model.checkpoint import save_trainables
    from polite_flamingo.model.flamingo import load_flamingo, save_flamingo
    from polite_flamingo.model.freezing import set_trainable, trainable_tensors

    root = tmp_path_factory.mktemp("rewriter")
    for index in range(2):
        Image.effect_noise((32, 32), 60 + 40 * index).convert("RGB").save(root / f"{index}.png")
    save_flamingo(build_micro(), root / "base")
    bundle = load_flamingo(root / "base")
    set_trainable(bundle, ["perceiver"])
    with torch.no_grad():
        for tensor in trainable_tensors(bundle).values():
            tensor.mul_(1.1)
    save_trainables(bundle, root / "rewriter")
    return BackendOptions(root, machine(2), base=root / "base", rewriter=root / "rewriter")


def test_an_unknown_spec_is_refused_with_the_known_forms(options: BackendOptions) -> None:
    for spec in ("", "Flamingo", "hf:", "openai:", "openai:#m", "openai:http://x/v1", "terse_rules"):
        with pytest.raises(ConfigError, match="flamingo, laptop, hf:"):
            load_backend(spec, GREEDY, options)


def test_options_can_be_sent_to_a_worker(options: BackendOptions) -> None:
    assert pickle.loads(pickle.dumps(options)) == options


def test_an_endpoint_is_made_without_torch(options: BackendOptions) -> None:
    code = "import sys, polite_flamingo.jobs.backends.load; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0
    assert isinstance(load_backend("openai:http://localhost:1/v1#m", GREEDY, options), EndpointBackend)


# Flamingo


@pytest.fixture(scope="module")
def flamingo(options: BackendOptions) -> TextBackend:
    return load_backend("flamingo", GREEDY, options)


def test_the_flamingo_backend_gives_what_generation_gives(flamingo: TextBackend, options: BackendOptions) -> None:
    from polite_flamingo.model.flamingo import load_flamingo

    assert options.base is not None
    bundle = load_flamingo(options.base, trainables=options.rewriter)
    prompts = [
        Prompt(rewriter_prompt(r.instruction.replace("<image>", "image"), r.draft, len(r.images)), r.images, key=r.key)
        for r in QUESTIONS
    ]
    expected = generate(bundle, prompts, GREEDY, image_root=options.image_root, batch_size=2)
    assert flamingo.answer(QUESTIONS) == expected
    assert any(answer.text for answer in expected)


def test_a_repair_is_sampled_and_repeatable_and_leaves_first_tries_as_they_are(flamingo: TextBackend) -> None:
    first = flamingo.answer(QUESTIONS)
    tries = [replace(QUESTIONS[0], attempt=attempt) for attempt in (1, 2)]
    mixed = flamingo.answer([tries[0], QUESTIONS[0], tries[1], QUESTIONS[1]])
    assert [mixed[1], mixed[3]] == first[:2]
    assert len({mixed[0].text, mixed[2].text, first[0].text}) == 3
    assert flamingo.answer(tries[:1]) == mixed[:1]


def test_the_flamingo_takes_no_chat_messages(flamingo: TextBackend) -> None:
    with pytest.raises(ModelError, match="no chat messages"):
        flamingo.answer([ChatQuestion("k", ({"role": "user", "content": "Hello"},))])


def test_the_flamingos_identity_follows_weights_and_settings_but_not_the_batch(
    options: BackendOptions, flamingo: TextBackend
) -> None:
    assert options.rewriter is not None
    larger = replace(options, machine=machine(9))
    assert load_backend("flamingo", GREEDY, larger).identity == flamingo.identity
    assert load_backend("flamingo", GenerationSettings.of(GREEDY, seed=1), options).identity != flamingo.identity
    config = options.rewriter / "config.json"
    before = config.read_text()
    config.write_text(before + " ")
    assert load_backend("flamingo", GREEDY, options).identity != flamingo.identity
    config.write_text(before)
