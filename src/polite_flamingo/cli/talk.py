"""``rewrite-one``, ``ask`` and ``chat``: a model on one question, or in a dialogue."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from polite_flamingo.cli.command import CommonOptions, positive, verb
from polite_flamingo.cli.options import FILE, as_json
from polite_flamingo.environment import DEVICE_VARIABLE, stay_offline
from polite_flamingo.errors import ConfigError, PoliteFlamingoError, printable

if TYPE_CHECKING:
    from polite_flamingo.talk.assistant import Assistant, AssistantAnswer
    from polite_flamingo.talk.judging import RewriteJudgement

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
TASKS = ("general", "caption", "change", "vqa", "dialogue", "detail", "reasoning", "text")
STDIN = "-"
HELP = """\
/image FILE   show an image with the next question (again for another one)
/new          forget the dialogue and its images
/retry        answer the last question again, with another seed where it is sampled
/quit         end, as Ctrl-D does"""


def model_options(default: str, names: str) -> Callable[[F], F]:
    """Which model, and how it decodes."""
    options = (
        click.option("--model", default=default, show_default=True, metavar="NAME", help=names),
        click.option("--base", type=FILE, metavar="FOLDER", help="what the weights of a folder were trained from"),
        click.option(
            "--dtype", type=click.Choice(("float32", "bfloat16", "float16")), help="number type of the weights"
        ),
        click.option(
            "--max-tokens", type=positive, metavar="N", help="most tokens of an answer (the profile's, or 512)"
        ),
        click.option("--temperature", type=click.FloatRange(0, 100), metavar="X", help="sample; 0: greedy (default)"),
        click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), metavar="X", help="when sampling (0.9)"),
        click.option("--top-k", type=click.IntRange(min=0), metavar="N", help="when sampling; 0: all (20)"),
        click.option("--seed", type=int, metavar="N", help="of the random numbers (0)"),
        click.option("--stop", multiple=True, metavar="TEXT", help="end before this text; may be given again"),
    )

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


images = click.option(
    "--image", "images", type=FILE, multiple=True, metavar="FILE", help="an image; may be given again, in order"
)


@verb(
    "rewrite-one",
    '--image a.jpg --question "What is it made of?" --answer rubber',
    '--model laptop --image a.jpg --question "What is it made of?" --answer rubber --check',
)
@images
@click.option("--question", required=True, metavar="TEXT", help="what the answer responds to")
@click.option("--answer", required=True, metavar="TEXT", help="the terse answer, taken for true")
@click.option(
    "--task", type=click.Choice(TASKS), default="general", help="what kind of answer (default: by its images)"
)
@click.option("--style", default="polite", metavar="NAME", help="polite, concise, stepwise or a template file; of hf:")
@click.option("--check", is_flag=True, help="every filter's score and verdict, too")
@click.option("--scorers", type=click.Choice(("paper", "laptop", "none")), help="of --check (those beside the model)")
@model_options("rewriter", "rewriter, laptop, FOLDER, hf:<folder or id@revision>, models:/<name>@<alias>")
@as_json
@click.pass_obj
def rewrite_one(
    options: CommonOptions,
    images: tuple[Path, ...],
    question: str,
    answer: str,
    task: str,
    style: str,
    check: bool,
    scorers: str | None,
    as_json: bool,
    **model: Any,
) -> None:
    """Rewrite one terse answer.

    To a terminal the first try is written while it is made; one with a visible fault is tried again, as in a run.
    """
    pictures = _opened(images)  # what is wrong with them is told before a library is loaded
    where, decoding = _split(options, model, online=scorers == "paper")
    from polite_flamingo.talk.rewriter import Rewriter

    with Rewriter.load(**where, style=style, scorers=scorers) as rewriter:
        streamed = not as_json and sys.stdout.isatty()
        if streamed:
            said = _listen(rewriter.stream(question, answer, pictures, task, **decoding))
        else:
            said = rewriter.rewrite(question, answer, pictures, task, **decoding)
        judged = rewriter.judge(question, answer, said, pictures, task) if check else None
    if as_json:
        found = {**asdict(said), "model": where["name"]}
        print(json.dumps(found if judged is None else {**found, "check": judged.to_json()}, ensure_ascii=False))
        return
    if said.attempts:
        kept = "the raw answer is kept" if said.kept_raw else "tried again"
        print(f"first try {said.fault}: {kept}", file=sys.stderr)
    if said.attempts or not streamed:
        print(printable(said.text))
    if judged is not None:
        print(f"\n{_table(judged)}")


@verb(
    "ask",
    '--image a.jpg "What is shown?"',
    '--model stage1 --json "What is a flamingo?"',
    "--image a.jpg -",
)
@click.argument("question", metavar="QUESTION", help="the question; - reads it from the standard input")
@images
@model_options("stage3", "stage1..3, raw, FOLDER, hf:<folder or id@revision>, models:/<name>@<alias>")
@as_json
@click.pass_obj
def ask(options: CommonOptions, question: str, images: tuple[Path, ...], as_json: bool, **model: Any) -> None:
    """Ask an assistant about images, or about none."""
    pictures = _opened(images)
    asked = sys.stdin.read().strip() if question == STDIN else question
    where, decoding = _split(options, model)
    from polite_flamingo.talk.assistant import Assistant

    with Assistant.load(**where) as assistant:
        _say(assistant, [{"role": "user", "content": asked, "images": pictures}], decoding, as_json)


@verb("chat", "--image a.jpg", "--model stage2 --temperature 0.7")
@images
@model_options("stage3", "stage1..3, raw, FOLDER, hf:<folder or id@revision>, models:/<name>@<alias>")
@as_json
@click.pass_obj
def chat(options: CommonOptions, images: tuple[Path, ...], as_json: bool, **model: Any) -> None:
    """Talk with an assistant: every line is a turn, /image FILE shows an image, /help tells the rest.

    Lines may come through a pipe; then the answers alone are written, one after the other, and the first error ends it.
    """
    shown = _opened(images)
    where, decoding = _split(options, model)
    from polite_flamingo.talk.assistant import Assistant

    with Assistant.load(**where) as assistant:
        typed = sys.stdin.isatty()
        if typed:
            print(f"{where['name']}. {len(shown)} image(s) shown. /help tells what else can be typed.", file=sys.stderr)
        Chat(assistant, decoding, as_json, shown).run(_lines(typed), patient=typed)


class Chat:
    """A dialogue line by line.

    Args:
        assistant: Who answers.
        decoding: How.
        as_json: A line of JSON per answer.
        shown: Images of the next question.
    """

    def __init__(self, assistant: Assistant, decoding: dict[str, Any], as_json: bool, shown: list[Any]) -> None:
        self._assistant, self._decoding, self._as_json, self._shown = assistant, decoding, as_json, shown
        self._turns: list[dict[str, Any]] = []
        self._told = False  # that old turns are forgotten

    def run(self, lines: Iterator[str], *, patient: bool) -> None:
        """Take turns until the lines end.

        Args:
            lines: What is typed.
            patient: An error is told, and the dialogue goes on; else it ends it.
        """
        for line in lines:
            try:
                if not self._take(line.strip()):
                    return
            except PoliteFlamingoError as error:
                if not patient:
                    raise
                print(f"error: {printable(str(error))}", file=sys.stderr)
            except KeyboardInterrupt:
                if not patient:
                    raise
                print("\n(stopped)", file=sys.stderr)

    def _take(self, line: str) -> bool:
        """One line; False ends the dialogue."""
        word, _, rest = line.partition(" ")
        if word == "/quit":
            return False
        if word == "/image":
            self._show(rest.strip())
        elif word == "/new":
            self._turns, self._shown, self._told = [], [], False
        elif word == "/retry":
            self._retry()
        elif word.startswith("/"):
            print(HELP, file=sys.stderr)
        elif line:
            self._answer([*self._turns, {"role": "user", "content": line, "images": self._shown}])
        return True

    def _show(self, path: str) -> None:
        if not path:
            raise ConfigError("no image is named", where="/image", next_step="write /image FILE")
        self._shown = [*self._shown, *_opened([Path(path).expanduser()])]

    def _retry(self) -> None:
        if not self._turns:
            raise ConfigError("nothing has been asked yet", where="/retry", next_step="ask something")
        self._decoding = {**self._decoding, "seed": (self._decoding.get("seed") or 0) + 1}
        self._answer(self._turns[:-1])

    def _answer(self, turns: list[dict[str, Any]]) -> None:
        kept = self._assistant.recent(turns, **self._decoding)
        if len(kept) < len(turns) and not self._told:
            print("(the dialogue fills the model's context: its oldest turns are forgotten)", file=sys.stderr)
            self._told = True
        turns = kept
        said = _say(self._assistant, turns, self._decoding, self._as_json)
        self._turns = [*turns, {"role": "assistant", "content": said.text or "…"}]  # a turn has some text
        self._shown = []


def _opened(paths: Iterable[Path]) -> list[Any]:
    from polite_flamingo.talk.images import checked_image

    return [checked_image(path) for path in paths]


def _split(
    options: CommonOptions, given: dict[str, Any], *, online: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What loads the model, and how it decodes."""
    where = {
        "name": given.pop("model"),
        "base": given.pop("base"),
        "dtype": given.pop("dtype"),
        "profile": options.profile,
        "params": options.params_file,
        "device": options.device or os.environ.get(DEVICE_VARIABLE) or "auto",
    }
    os.environ.setdefault("TQDM_DISABLE", "1")
    stay_offline(os.cpu_count() or 1, [str(where["name"]), *(["hub:"] if online else [])])
    from transformers.utils import logging as chatter

    chatter.disable_progress_bar()
    chatter.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries, to their authors
    return where, {**given, "stop": given["stop"] or None}


def _say(assistant: Assistant, turns: list[dict[str, Any]], decoding: dict[str, Any], as_json: bool) -> AssistantAnswer:
    """Write the answer, to a terminal while it is made."""
    if not as_json and sys.stdout.isatty():
        return _listen(assistant.stream(turns, **decoding))
    said = assistant.chat(turns, **decoding)
    text = json.dumps({**asdict(said), "model": assistant.place.name}, ensure_ascii=False)
    print(text if as_json else printable(said.text), flush=True)
    return said


def _listen(pieces: Generator[str, None, T]) -> T:
    """Write pieces as they come; returns what their generator returns."""
    while True:
        try:
            print(printable(next(pieces)), end="", flush=True)
        except StopIteration as ended:
            print(flush=True)
            return ended.value


def _lines(typed: bool) -> Iterator[str]:
    """Lines of a terminal, with a prompt, or of a pipe."""
    if not typed:
        yield from sys.stdin
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # keys to edit a line, and those before
    while True:
        try:
            yield input("> ")
        except EOFError:
            print(file=sys.stderr)
            return


def _table(judged: RewriteJudgement) -> str:
    """Verdicts as `explain` shows them, and what could not be judged."""
    from polite_flamingo.filter.decisions import decision_row
    from polite_flamingo.reports.explain import score_lines, verdict_lines

    decision = judged.decision
    row = decision_row(judged.scored, decision)
    row = {**row, **{name: {**row[name], "threshold": result.threshold} for name, result in decision.verdicts.items()}}
    lines = [*score_lines(judged.scored.scores), "", *verdict_lines(row, len(decision.cut)), ""]
    lines += [f"cut (CLIP {logit:g}): {printable(text)}" for logit, text in decision.cut]
    if judged.missing:
        absent = "; ".join(f"{name} ({why})" for name, why in judged.missing.items())
        lines.append(f"No scorer: {absent}. Passed unseen: {', '.join(judged.unjudged) or 'nothing'}.")
    return "\n".join([*lines, f"REJECTED  {decision.reason}" if decision.reason else "KEPT"])
