"""``params``: the values that are used, and those of the paper they replace."""

from __future__ import annotations

from pathlib import Path

import click

from polite_flamingo.cli.command import CommonOptions, verb
from polite_flamingo.errors import ConfigError, PoliteFlamingoError


@verb("params")
@click.option("--check", is_flag=True, help="check params.yaml and every profile instead")
@click.pass_obj
def params(options: CommonOptions, check: bool) -> None:
    """The resolved parameters, and which of the paper's values the profile replaces."""
    import yaml

    if check:
        _check_profiles(options.params_file)
        return
    resolved = options.load()
    values = resolved.model_dump(mode="json", exclude={"overridden"})
    print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip())
    print(f"\n# stages: {', '.join(resolved.stages)}")
    print(f"\n# replaced by the profile {resolved.profile} (the paper's value -> the profile's):")
    for key, (paper, own) in sorted(resolved.overridden.items()):
        print(f"#   {key}: {paper} -> {own}")


def _check_profiles(path: Path) -> None:
    from polite_flamingo.params.file import rendered
    from polite_flamingo.params.reading import load_params

    problems = []
    files = sorted((path.parent / "configs" / "profiles").glob("*.yaml"))
    for file in files:
        try:
            problems += [f"{file}: {line}" for line in load_params(path, file.stem).contradictions()]
        except PoliteFlamingoError as error:
            problems.append(str(error))
    if not problems and path.read_text(encoding="utf-8") != rendered(path):
        problems.append(f"{path}: not as the schema has it; `python -m polite_flamingo.params` writes it anew")
    if problems:
        raise ConfigError("profiles with problems:\n" + "\n".join(problems))
    print(f"{path} and {len(files)} profiles: {', '.join(file.stem for file in files)}: fine")
