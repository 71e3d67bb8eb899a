"""The page: two tabs on Gradio. *Rewrite* shows what the rewriter and the filters do, *Talk* the tuned assistants."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import gradio as gr

from polite_flamingo.demo.examples import DemoExample
from polite_flamingo.demo.guard import MAX_UPLOAD
from polite_flamingo.demo.judged import judged
from polite_flamingo.demo.render import Card, asked, cards, note
from polite_flamingo.distort.text_noise import add_noise
from polite_flamingo.errors import SHOWN, DataError, PoliteFlamingoError
from polite_flamingo.talk.images import ImageLimits, checked_image

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

M = TypeVar("M")
MAX_TEXT = 4_000  # characters of a question or an answer
MAX_PHOTOS = 10  # of one question, the paper's
LIMITS = ImageLimits(bytes=MAX_UPLOAD, pixels=50_000_000)
MAX_ROUNDS = 8  # of one conversation
MAX_SESSIONS = 100  # conversations that are remembered
MAX_WAITING = 16  # clicks in the queue
NOISES = 8  # tries to distort a text so that it differs
BUSY = "models"  # they answer one click at a time
OTHER = "anything else"
KINDS = {"an answer": "vqa", "a caption": "caption", "what changed": "change", OTHER: "general"}


class OnFirstUse(Generic[M]):
    """A model that is loaded when it is first asked for.

    Args:
        title: Its name on the page.
        load: Loads it; raises an error of ours where it is not there.
    """

    def __init__(self, title: str, load: Callable[[], M]) -> None:
        self.title = title
        self._load = load
        self._lock = threading.Lock()
        self._model: M | None = None

    @property
    def loaded(self) -> bool:
        """False before the first use."""
        return self._model is not None

    def get(self) -> M:
        """The model."""
        with self._lock:
            if self._model is None:
                self._model = self._load()
            return self._model


@dataclass(frozen=True, slots=True)
class DemoParts:
    """What the page is made of.

    Args:
        about: The profile, in a line.
        rewriter: With ``rewrite`` and ``judge``.
        assistants: With ``stream``, in the order they are shown.
        reward: With ``rewards``, of pairs of a question and an answer.
        annotated: Examples of *Rewrite*.
        asked: Examples of *Talk*.
        seed: Of the noise.
    """

    about: str
    rewriter: OnFirstUse[Any]
    assistants: Sequence[OnFirstUse[Any]]
    reward: OnFirstUse[Any]
    annotated: Sequence[DemoExample]
    asked: Sequence[DemoExample]
    seed: int


@dataclass(frozen=True, slots=True)
class TalkRound:
    """One question to all assistants.

    Args:
        question: The text.
        files: The photos that lay there.
        images: Those photos, where the round before had others.
        said: Title of an assistant -> its answer, or why there is none.
    """

    question: str
    files: tuple[str, ...]
    images: tuple[Path, ...]
    said: dict[str, Card] = field(default_factory=dict)

    def answer(self, title: str) -> str:
        """What an assistant said; empty where it did not."""
        return self.said[title].text if title in self.said else ""


def turns_of(rounds: Sequence[TalkRound], title: str) -> list[dict[str, Any]]:
    """A conversation up to its last question, as one assistant knows it: without rounds that it did not answer."""
    turns: list[dict[str, Any]] = []
    images: list[Path] = []
    for one in rounds:
        images += one.images
        if one is rounds[-1] or one.answer(title):
            turns.append({"role": "user", "content": one.question, "images": images})
            images = []
        if one is not rounds[-1] and one.answer(title):
            turns.append({"role": "assistant", "content": one.answer(title)})
    return turns


class DemoPage:
    """The page.

    Args:
        parts: What it is made of.
    """

    def __init__(self, parts: DemoParts) -> None:
        self._parts = parts

    def blocks(self) -> gr.Blocks:
        """The page as Gradio's."""
        with gr.Blocks(title="Polite Flamingo", analytics_enabled=False, delete_cache=(600, 3600)) as page:
            gr.HTML(f"<h1>Polite Flamingo</h1>{note(self._parts.about)}")
            with gr.Tab("Rewrite"):
                self._rewrite_tab()
            with gr.Tab("Talk"):
                self._talk_tab()
        page.state_session_capacity = MAX_SESSIONS
        page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)
        return page

    def _rewrite_tab(self) -> None:
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                drawn, photos = _pictures(self._parts.annotated)
                question = gr.Textbox(label="Question", max_length=MAX_TEXT, lines=2)
                answer = gr.Textbox(label="Terse answer", max_length=MAX_TEXT, lines=2)
                kind = gr.Dropdown(list(KINDS), value="an answer", label="It asks for", filterable=False)
                start = gr.Button("Rewrite", variant="primary")
            with gr.Column(scale=3, min_width=300):
                shown = gr.HTML(elem_id="rewrite-shown")
        given = [photos, question, answer, kind]
        _fill(drawn, self._parts.annotated, given, _annotated_fields)
        _on(start, self.rewrite, given, [shown])

    def _talk_tab(self) -> None:
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                drawn, photos = _pictures(self._parts.asked)
                question = gr.Textbox(label="Question", max_length=MAX_TEXT, lines=2)
                truth = gr.HTML()
                with gr.Row():
                    start = gr.Button("Ask all", variant="primary", min_width=120)
                    anew = gr.Button("New conversation", min_width=120)
            with gr.Column(scale=3, min_width=300):
                shown = gr.HTML(elem_id="talk-shown")
        rounds = gr.State(())
        _fill(drawn, self._parts.asked, [photos, question, truth], _asked_fields)
        _on(start, self.talk, [photos, question, rounds], [shown, rounds, question])
        _on(anew, lambda: ("", (), "", ""), [], [shown, rounds, question, truth])

    def rewrite(self, photos: Any, question: str, answer: str, kind: str) -> Iterator[str]:
        """What is shown of a terse answer while it is rewritten, distorted and judged."""
        model = self._parts.rewriter
        shown = ""
        try:
            images = [_opened(file) for file in _files(photos)]
            asked_for = {
                "question": _text(question, "question"),
                "images": images,
                "task": KINDS.get(kind, KINDS[OTHER]),
            }
            answer = _text(answer, "terse answer")
            yield note("rewrites …" if model.loaded else f"the {model.title} is being loaded …")
            polite = model.get().rewrite(answer=answer, **asked_for)
            raw, good = Card("Raw annotation", answer), Card("Rewritten", polite.text, _repaired(polite))
            noisy = Card("The rewrite, distorted", distorted(polite.text, self._parts.seed), NOISE)
            shown = cards([raw, good, noisy])
            yield shown + note("the noise is undone …")
            again = model.get().rewrite(answer=noisy.text, **asked_for)
            shown = cards([raw, good, noisy, Card("Rewritten again", again.text)])
            yield shown + note("the filters judge; the first time their models are loaded …")
            yield shown + judged(model.get().judge(answer=answer, polite=polite, **asked_for))
        except PoliteFlamingoError as error:
            yield shown + note(str(error))

    def talk(self, photos: Any, question: str, rounds: tuple[TalkRound, ...]) -> Iterator[tuple[Any, ...]]:
        """What is shown while one assistant after the other answers; at last the rounds, and an empty field."""
        try:
            question = _text(question, "question")
            if len(rounds) == MAX_ROUNDS:
                raise DataError(f"a conversation has at most {MAX_ROUNDS} questions", next_step="begin a new one")
            files = tuple(_files(photos))
            known = rounds[-1].files if rounds else ()
            images = () if files == known else tuple(map(Path, files))
            for image in images:
                _opened(str(image))
        except PoliteFlamingoError as error:
            yield note(str(error)) + _conversation(rounds), gr.skip(), gr.skip()
            return
        one = TalkRound(question, files, images)
        rounds = (*rounds, one)
        for model in self._parts.assistants:
            text, state = "", "answers …" if model.loaded else "is being loaded …"
            one.said[model.title] = Card(model.title, "", state)
            yield _conversation(rounds), gr.skip(), gr.skip()
            try:
                for piece in model.get().stream(turns_of(rounds, model.title)):
                    text += piece
                    one.said[model.title] = Card(model.title, text, "…")
                    yield _conversation(rounds), gr.skip(), gr.skip()
                one.said[model.title] = Card(model.title, text, self._measured(question, text))
            except PoliteFlamingoError as error:
                one.said[model.title] = Card(model.title, "", str(error))
        yield _conversation(rounds), rounds, ""

    def _measured(self, question: str, text: str) -> str:
        """Length and politeness of an answer."""
        if not text.strip():
            return "no answer"
        words = len(text.split())
        length = f"{words} word{'' if words == 1 else 's'}"
        try:
            (reward,) = self._parts.reward.get().rewards([(question, text)])
        except PoliteFlamingoError as error:
            return f"{length}; {error.what}"
        return f"{length}, politeness {reward:+.2f}"


NOISE = "by the text noise that the rewriter learned to undo (section 3.1.2)"


def distorted(text: str, seed: int) -> str:
    """A text with noise; as it is where it is too short for any."""
    rng = Random(f"{seed}:{text}:demo")
    drawn = (add_noise(text, rng, 0.5) for _ in range(NOISES))
    return next((noisy for noisy in drawn if noisy.strip() and noisy != text), text)


def _pictures(examples: Sequence[DemoExample]) -> tuple[gr.Gallery, gr.Gallery]:
    """Photos to choose from, and those of the question."""
    look: dict[str, Any] = {"buttons": [], "columns": 6, "show_label": False}
    gr.HTML(note("Click a photo of the profile's data (drawn by its seed), or upload your own."))
    drawn = gr.Gallery(
        [str(example.images[0]) for example in examples], label="Photos of the data", object_fit="cover", height=230,
        allow_preview=False, interactive=False, elem_classes="pf-drawn", **look,
    )  # fmt: skip
    drawn.keep_in_cache.update(str(image) for example in examples for image in example.images)  # uploads are not
    photos = gr.Gallery(
        label="Photos of the question", type="filepath", sources=["upload"], height=180, object_fit="contain",
        fit_columns=False, interactive=True, elem_classes="pf-photos", **look | {"columns": 3},
    )  # fmt: skip
    return drawn, photos


def _on(button: gr.Button, do: Callable[..., Any], given: list[Any], shown: list[Any]) -> None:
    """What a click does, after the clicks before it."""
    button.click(
        do,
        given,
        shown,
        concurrency_id=BUSY,
        show_progress="minimal",
        show_progress_on=shown[0],
        api_visibility="private",
    )


def _fill(
    drawn: gr.Gallery, examples: Sequence[DemoExample], shown: list[Any], fields: Callable[[DemoExample], list[Any]]
) -> None:
    """A click on an example fills the fields."""

    def chosen(event: gr.SelectData) -> list[Any]:
        if type(event.index) is not int or not 0 <= event.index < len(examples):
            raise gr.Error("there is no such example")
        return fields(examples[event.index])

    drawn.select(chosen, None, shown, show_progress="hidden", api_visibility="private")


def _annotated_fields(example: DemoExample) -> list[Any]:
    kind = next((kind for kind, task in KINDS.items() if task == example.task), OTHER)
    return [[str(image) for image in example.images], example.question, example.answer, kind]


def _asked_fields(example: DemoExample) -> list[Any]:
    return [
        [str(image) for image in example.images],
        example.question,
        note(f"Annotated: {shorten(example.answer, SHOWN, placeholder=' …')}"),
    ]


def _files(photos: Any) -> list[str]:
    files = [file for file, _ in photos or ()]
    if len(files) > MAX_PHOTOS:
        raise DataError("too many photos", value=len(files), next_step=f"at most {MAX_PHOTOS}")
    return files


def _opened(file: str) -> PILImage:
    return checked_image(Path(file), LIMITS, where=Path(file).name)


def _text(text: Any, name: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"there is no {name}", next_step="write one, or click a photo of the data")
    if len(text) > MAX_TEXT:
        raise DataError(f"the {name} is too long", value=len(text), next_step=f"at most {MAX_TEXT} characters")
    return text.strip()


def _repaired(polite: Any) -> str:
    """What happened before this was the answer."""
    if polite.kept_raw:
        return f"the raw answer: no try was without a fault ({polite.fault})"
    return f"try {polite.attempts + 1}; the first was {polite.fault}" if polite.attempts else ""


def _conversation(rounds: Sequence[TalkRound]) -> str:
    """All rounds, the newest first, each with the answers side by side."""
    shown = []
    for one in reversed(rounds):
        count = len(one.images)
        pictures = f" (with {count} photo{'' if count == 1 else 's'})" if count else ""
        shown.append(asked(one.question + pictures) + cards(list(one.said.values())))
    return "".join(shown)
