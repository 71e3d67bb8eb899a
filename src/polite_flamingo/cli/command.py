"""What all verbs share: four options, help with examples, names with dashes or underscores."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polite_flamingo.environment import DEVICE_VARIABLE
from polite_flamingo.errors import ConfigError

if TYPE_CHECKING:
    from polite_flamingo.params.schema import Params

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
PARAMS_FILE = Path("params.yaml")


@dataclass(frozen=True, slots=True)
class CommonOptions:
    """Values of the options of every verb; None: not given."""

    profile: str | None = None
    params: Path | None = None
    data_root: str | None = None
    device: str | None = None

    @property
    def params_file(self) -> Path:
        """The params file that was named, or the usual one."""
        return self.params or PARAMS_FILE

    def load(self) -> Params:
        """The parameters of the profile, on the device that was named.

        Raises:
            ConfigError: a file, a folder or the device does not exist.
        """
        from polite_flamingo.params.reading import load_params
        from polite_flamingo.params.schema import DATA_ROOT_VARIABLE

        if self.data_root is not None:
            from polite_flamingo.launch.pipeline_run import existing_folder

            os.environ[DATA_ROOT_VARIABLE] = existing_folder(self.data_root)
        params = load_params(self.params_file, self.profile)
        device = self.device or os.environ.get(DEVICE_VARIABLE)
        if device is None:
            return params
        if device not in ("auto", "cpu", "cuda") and not re.fullmatch(r"cuda:\d+", device):
            raise ConfigError("unknown device", value=device, next_step="one of auto, cpu, cuda, cuda:<number>")
        return params.model_copy(update={"runtime": params.runtime.model_copy(update={"device": device})})


class CommonOption(click.Option):
    """An option of every verb; it may stand before or after the verb, which gets a `CommonOptions` as its object."""

    def __init__(self, name: str, **attributes: Any) -> None:
        super().__init__([name], expose_value=False, callback=_remember, **attributes)


class SeveralValues(click.Option):
    """An option that takes all words up to the next option: ``--seeds 1 2 3``."""

    def __init__(self, names: Sequence[str], **attributes: Any) -> None:
        super().__init__(names, multiple=True, **attributes)


class Verb(click.Command):
    """One verb.

    Args:
        examples: Arguments to show in its help.
        family: The word before it, of a verb in a family.
    """

    def __init__(self, name: str, *, examples: Sequence[str] = (), family: str = "", **attributes: Any) -> None:
        super().__init__(name, context_settings=SETTINGS, **attributes)
        called = f"{family} {name}".strip()
        self.examples = [f"polite-flamingo {called} {example}".rstrip() for example in examples]
        self.short_help = (self.help or "").partition("\n\n")[0].rstrip(".")
        self.common = common_options()
        self.params += self.common

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, after every value of a `SeveralValues` got the option's name before it."""
        several = {name for option in self.params if isinstance(option, SeveralValues) for name in option.opts}
        words: list[str] = []
        for word in args:
            if words[-2:-1] and words[-2] in several and not word.startswith("-"):
                words.append(words[-2])
            words.append(word)
        return super().parse_args(ctx, words)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verb's own options and those of every verb apart."""
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        own = [option for option in options if option not in self.common]
        _write_options(ctx, formatter, "Options", own)
        _write_options(ctx, formatter, "Options of every verb", self.common)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, each on a line of its own."""
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {example}\n" for example in self.examples))


class Verbs(click.Group):
    """All verbs. A stage's name has underscores, as in dvc.yaml, any other dashes; both may be typed."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(context_settings=SETTINGS, subcommand_metavar="VERB [ARGUMENTS]...", **attributes)
        self.params += common_options()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name, however its words are joined."""
        joined = {name.replace("-", "_"): name for name in self.commands}
        return super().get_command(ctx, joined.get(cmd_name.replace("-", "_"), cmd_name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one line per verb, in the order they were added: the stages first, as they run."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, command.get_short_help_str()) for name, command in self.commands.items()])


def verb(name: str, *examples: str, family: str = "") -> Callable[[Callable[..., Any]], Verb]:
    """Make a function a verb; its docstring is the help."""
    return click.command(name, cls=Verb, examples=examples, family=family)


def common_options() -> list[click.Option]:
    """The options of every verb."""
    path = click.Path(path_type=Path)
    return [
        CommonOption(
            "--profile", metavar="NAME", help="profile in configs/profiles/ (default: the one params.yaml names)"
        ),
        CommonOption("--params", type=path, metavar="FILE", help="params file (default: params.yaml)"),
        CommonOption(
            "--data-root", metavar="DIR", help="folder of the real datasets (default: the profile's data_root)"
        ),
        CommonOption(
            "--device", metavar="NAME", help="auto, cpu, cuda or cuda:N (default: the profile's runtime.device)"
        ),
    ]


def count(value: str | int) -> int:
    """An option's value: 0 or more."""
    if not str(value).isdecimal():
        raise click.BadParameter(f"{value!r} is no count: 0 or more")
    return int(value)


def positive(value: str | int) -> int:
    """An option's value: a whole number above 0."""
    if not str(value).isdecimal() or int(value) == 0:
        raise click.BadParameter(f"{value!r} is no number above 0")
    return int(value)


def rate(value: str | float) -> float:
    """An option's value: a number above 0."""
    number = _number(value)
    if not 0 < number < math.inf:
        raise click.BadParameter(f"{value!r} is no number above 0")
    return number


def share(value: str | float) -> float:
    """An option's value: 0 to 1."""
    number = _number(value)
    if not 0 <= number <= 1:
        raise click.BadParameter(f"{value!r} is no share: 0 to 1")
    return number


def _number(value: str | float) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


def _remember(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    options = ctx.obj or CommonOptions()  # of the words before the verb
    ctx.obj = options if value is None else replace(options, **{str(option.name): value})


def _write_options(
    ctx: click.Context, formatter: click.HelpFormatter, title: str, options: Sequence[click.Parameter]
) -> None:
    records = [record for option in options if (record := option.get_help_record(ctx)) is not None]
    with formatter.section(title):
        formatter.write_dl(records)
