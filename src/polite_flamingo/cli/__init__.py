"""``polite-flamingo <verb>``: one verb per stage of the pipeline, and a few to look at what it did.

A module per verb, or family of verbs, has its options and what it does. Imports stay light here: a verb's libraries are
loaded when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from polite_flamingo import __version__
from polite_flamingo.cli import (
    ablations,
    answers,
    baseline,
    calibrate,
    datasets,
    demo,
    doctor,
    export,
    filtering,
    init,
    models,
    params,
    plan,
    preview,
    registry,
    report,
    rescore,
    results,
    run,
    serve,
    stages,
    study,
    talk,
    team,
    with_dvc,
)
from polite_flamingo.cli.command import Verbs
from polite_flamingo.cli.terminal import PrintableFormatter, printable_output
from polite_flamingo.environment import prepare_environment
from polite_flamingo.errors import PoliteFlamingoError, printable, refusal
from polite_flamingo.launch.failures import leave_failure
from polite_flamingo.pipeline import BY_NAME

__all__ = ["USER_ERROR", "VERBS", "main"]

USER_ERROR = 2
INTERRUPTED = 130
KEPT = {  # verb -> what is there after Ctrl-C, and how to go on
    **dict.fromkeys(("run", *BY_NAME), "finished stages and answers are kept, and the same command goes on from there"),
    "init": "nothing was written; --yes asks nothing",
    "preview": "nothing was recorded; answers of an endpoint are kept, and the same command does not buy them again",
    **dict.fromkeys(("rewrite-one", "ask", "chat"), "nothing was kept"),
    "study": "every click is in the study's file; the same command goes on",
    "export": "an earlier export is as it was; the same command begins anew",
    "publish": "the hub has all of it or what it had before; the same command sends what is missing",
}

VERBS = Verbs(
    name="polite-flamingo",
    help="Turn terse vision-language annotations into polite, grounded instruction data, and tune on it.",
    epilog="`polite-flamingo VERB --help` tells a verb's options. Stages are usually run by `polite-flamingo run` or "
    "`dvc repro`, which know what is out of date. Exit status: 0 done; 2 an error you can mend, and the message says "
    "how; 130 stopped by Ctrl-C. `reproduce` ends with 1 where figures differ, `models promote` where its gate "
    "refuses; `run`, and a training of several processes, pass on the status of what they started.",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            help="show the version and exit",
            callback=lambda ctx, _, chosen: _show_version(ctx) if chosen else None,
        )
    ],
)
for _verb in (
    *stages.VERBS, init.init, preview.preview, report.report, report.reproduce, report.explain, results.results,
    filtering.filtering_report,
    filtering.whatif, rescore.rescore,
    answers.evaluate_answers, answers.tax_meter, answers.answer_questions,
    run.run, datasets.read, datasets.fetch, datasets.sources, export.export,
    export.publish,
    models.export_model, models.import_model, registry.models, params.params, plan.plan, run.ui, doctor.doctor,
    calibrate.calibrate,
    study.study,
    talk.rewrite_one, talk.ask, talk.chat,
    demo.demo,
    ablations.ablations, baseline.accept_baseline, run.track_outputs, with_dvc.gc, with_dvc.plots,
    *team.VERBS,
    serve.serve,
):  # fmt: skip
    VERBS.add_command(_verb)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; a user's error ends with status 2 and a message, without a traceback."""
    prepare_environment()
    log = logging.StreamHandler(sys.stderr)
    log.setFormatter(PrintableFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[log])
    first = os.environ.get("RANK", "0") == "0"  # of the processes that share a training
    logging.getLogger("polite_flamingo").setLevel(logging.INFO if first else logging.ERROR)
    context = None
    try:
        with (
            printable_output(),
            VERBS.make_context(VERBS.name, list(sys.argv[1:] if argv is None else argv)) as context,
        ):
            return int(VERBS.invoke(context) or 0)
    except click.exceptions.Exit as ended:  # after --help
        return ended.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PoliteFlamingoError as error:
        return _user_error(error)
    except (KeyboardInterrupt, click.Abort):
        verb = context.invoked_subcommand if context is not None else None
        print(f"\nstopped: {KEPT.get(verb or '', 'the same command begins anew')}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `polite-flamingo report | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if (refused := refusal(error)) is not None and not isinstance(error, PermissionError):
            if refused.where is None and refused.value != os.strerror(errno.ENOMEM):
                refused = refusal(error, f"{Path.cwd()}, or the folder for temporary files") or refused
            return _user_error(refused)
        if isinstance(error, OSError) and error.filename is not None:
            return _user_error(_about_file(error))
        leave_failure(error)
        raise


def _user_error(error: PoliteFlamingoError) -> int:
    print(f"error: {printable(str(error))}", file=sys.stderr)
    leave_failure(error)
    return USER_ERROR


def _show_version(context: click.Context) -> None:
    print(f"polite-flamingo {__version__}")
    context.exit()


def _about_file(error: OSError) -> PoliteFlamingoError:
    """What the operating system says about a path, as an error of ours."""
    what = "file does not exist" if isinstance(error, FileNotFoundError) else "file cannot be used"
    step = "check the path, and that you may read or write there"
    return PoliteFlamingoError(what, value=error.strerror, where=error.filename2 or error.filename, next_step=step)
