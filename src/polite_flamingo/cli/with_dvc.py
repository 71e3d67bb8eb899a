"""``gc`` and ``plots``: DVC's cache without what nothing uses, DVC's plots without a network."""

from __future__ import annotations

from pathlib import Path

import click

from polite_flamingo.cli.command import CommonOptions, verb
from polite_flamingo.cli.options import FILE


@verb("gc", "--dry-run")
@click.option("--dry-run", is_flag=True, help="only count what would be removed")
@click.option("--yes", is_flag=True, help="do not ask")
@click.pass_obj
def gc(options: CommonOptions, dry_run: bool, yes: bool) -> None:
    """Remove from DVC's cache what no branch, tag, experiment or profile uses."""
    from polite_flamingo.launch.project import remove_unused

    del options
    unused = remove_unused(Path.cwd(), dry=True)
    print(f"{unused} files of the cache are in no use")
    if unused and not dry_run and (yes or click.confirm("Remove them?")):
        print(f"{remove_unused(Path.cwd())} removed")


@verb("plots", "", "HEAD~1 workspace")
@click.argument("revisions", nargs=-1, metavar="[REVISION ...]")
@click.option("--out", type=FILE, default=Path("dvc_plots"), metavar="FOLDER", help="default: dvc_plots")
@click.pass_obj
def plots(options: CommonOptions, revisions: tuple[str, ...], out: Path) -> int:
    """Draw DVC's plots, of one state or of several beside each other, on a page that needs no network."""
    from polite_flamingo.io.files import write_atomic
    from polite_flamingo.launch.plots import offline_page, plots_command
    from polite_flamingo.launch.processes import call

    del options
    page = Path(".work") / "plots.html"
    write_atomic(page, offline_page())
    return call(plots_command(revisions, page, out))
