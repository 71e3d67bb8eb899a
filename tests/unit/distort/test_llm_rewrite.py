"""Backends of the LLM-instructed distortion."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pytest

from polite_flamingo.distort.llm_rewrite import (
    ChatModel,
    OpenAiBackend,
    clean_completion,
    load_backend,
    load_chat_model,
)
from polite_flamingo.distort.terse_rules import TerseRules
from polite_flamingo.errors import ConfigError, ModelError
from polite_flamingo.prompts.commands import COMMANDS, DistortionPrompt

PROMPTS = [DistortionPrompt("What color?", "The car is red.", COMMANDS[5]), DistortionPrompt("How many?", "Two cars.")]


@pytest.mark.parametrize(
    "spec", ["", "terse", "hf:", "openai:http://x", "openai:ftp://x#m", "openai:http://x#", "llama"]
)
def test_an_unknown_backend_is_refused_with_the_known_forms(spec: str) -> None:
    with pytest.raises(ConfigError, match="terse_rules, hf:"):
        load_backend(spec)


def test_the_terse_maker_is_named_as_such() -> None:
    assert isinstance(load_backend("terse_rules"), TerseRules)


def test_a_hub_model_needs_a_revision() -> None:
    with pytest.raises(ConfigError, match="revision"):
        load_backend("hf:someone/some-model")


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ('red"', "red"),
        ('red"\n\nIs there more?', "red"),
        ("red\n### Human: thanks", "red"),
        ('"red"', "red"),
        ('he said "stop" loudly', 'he said "stop" loudly'),
        ("  red \n", "red"),
    ],
)
def test_only_what_was_written_inside_the_quotation_mark_counts(raw: str, clean: str) -> None:
    assert clean_completion(raw) == clean


# An OpenAI-compatible endpoint


class Endpoint(HTTPServer):
    """Answers from a list of (status, body); the last is repeated."""

    def __init__(self, answers: list[tuple[int, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, dict(self.headers), body))
        status, answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def said(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint([(200, said('red"'))])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_endpoint_gets_model_messages_seed_and_key(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    backend = load_backend(f"openai:{endpoint.url}#some-model")
    assert backend.complete(PROMPTS, [Random(0), Random(1)]) == ["red", "red"]
    path, headers, body = endpoint.seen[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret-key"
    assert body["model"] == "some-model"
    assert body["messages"] == PROMPTS[0].messages
    assert body["seed"] == Random(0).getrandbits(31)
    assert "secret-key" not in repr(backend)


def test_without_a_key_no_authorisation_is_sent(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    load_backend(f"openai:{endpoint.url}#m").complete(PROMPTS[:1], [Random(0)])
    assert "Authorization" not in endpoint.seen[0][1]


def test_a_passing_fault_is_tried_again(endpoint: Endpoint) -> None:
    endpoint.answers = [(503, {}), (429, {}), (200, said("two"))]
    assert OpenAiBackend(endpoint.url, "m", pause=0.001).complete(PROMPTS[:1], [Random(0)]) == ["two"]
    assert len(endpoint.seen) == 3


def test_a_lasting_fault_ends_after_the_stated_attempts(endpoint: Endpoint) -> None:
    endpoint.answers = [(500, {})]
    with pytest.raises(ModelError, match="500"):
        OpenAiBackend(endpoint.url, "m", attempts=3, pause=0.001).complete(PROMPTS[:1], [Random(0)])
    assert len(endpoint.seen) == 3


def test_a_refusal_is_not_tried_again(endpoint: Endpoint) -> None:
    endpoint.answers = [(401, {"error": "bad key"})]
    with pytest.raises(ModelError, match="bad key"):
        OpenAiBackend(endpoint.url, "m", key="k", pause=0.001).complete(PROMPTS[:1], [Random(0)])
    assert len(endpoint.seen) == 1


def test_an_answer_of_another_form_is_named(endpoint: Endpoint) -> None:
    endpoint.answers = [(200, {"choices": []})]
    with pytest.raises(ModelError, match="no chat completion"):
        OpenAiBackend(endpoint.url, "m", pause=0.001).complete(PROMPTS[:1], [Random(0)])


def test_nobody_listening_is_an_error_of_ours() -> None:
    with pytest.raises(ModelError, match="cannot be reached"):
        OpenAiBackend("http://127.0.0.1:9", "m", attempts=2, pause=0.001).complete(PROMPTS[:1], [Random(0)])


# A local chat model


@pytest.fixture(scope="module")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised Llama of a few thousand parameters, with a character tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("chat")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocab),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=4096,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def chat(folder: Path, **settings: Any) -> ChatModel:
    loaded = load_chat_model(str(folder), device="cpu")
    return ChatModel(loaded._model, loaded._tokenizer, "cpu", max_new_tokens=8, **settings)


def seeds(*values: int) -> list[Random]:
    return [Random(v) for v in values]


def test_greedy_drafts_do_not_depend_on_the_batch(chat_folder: Path) -> None:
    together = chat(chat_folder, temperature=0.0).complete(PROMPTS, seeds(0, 1))
    alone = [chat(chat_folder, temperature=0.0).complete([p], seeds(9))[0] for p in PROMPTS]
    assert together == alone


def test_sampled_drafts_follow_their_own_randomness(chat_folder: Path) -> None:
    model = chat(chat_folder, temperature=1.0, top_p=1.0)
    together = model.complete([*PROMPTS, *PROMPTS], seeds(0, 1, 2, 1))
    assert together[1] == together[3]
    assert together[0] != together[2]
    assert model.complete([PROMPTS[1]], seeds(1)) == [together[1]]


def test_a_tiny_top_p_is_greedy(chat_folder: Path) -> None:
    greedy = chat(chat_folder, temperature=0.0).complete(PROMPTS, seeds(0, 1))
    assert chat(chat_folder, temperature=1.0, top_p=1e-9).complete(PROMPTS, seeds(3, 4)) == greedy


def test_sampling_follows_the_models_probabilities() -> None:
    import torch

    from polite_flamingo.distort.llm_rewrite import _GumbelNoise

    scores = torch.log(torch.tensor([0.5, 0.3, 0.2])).repeat(4000, 1)
    noisy = _GumbelNoise(range(4000), temperature=1.0, top_p=1.0)(torch.zeros(4000, 1), scores)
    shares = torch.bincount(noisy.argmax(-1), minlength=3) / 4000
    assert torch.allclose(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.03)


def test_a_chat_template_is_used_and_the_promise_continued(chat_folder: Path) -> None:
    model = chat(chat_folder)
    assert model.prompt(PROMPTS[0]) == PROMPTS[0].text
    model._tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
    text = model.prompt(PROMPTS[0])
    assert text.startswith("<system>A chat between")
    assert text.rstrip().endswith('finishing this response:\n\n"')


def test_a_folder_without_a_model_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_chat_model(str(tmp_path), device="cpu")
