"""Stage ``rewrite`` (section 4.1): raw annotations -> polite responses, through the engine; resumable by call.

Reads  : data/P/samples/annotation, models/P/backbones/flamingo, models/P/rewriter.
Writes : data/P/rewrites (records without scores, and ``quarantine.jsonl``), reports/P/rewrite.json.

Where the world's ground truth is known, probes are added (`world.probes`).
"""

from __future__ import annotations

import logging
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError, QualityError
from polite_flamingo.io.files import publishing
from polite_flamingo.io.shards import count_shards, write_shards
from polite_flamingo.io.text import write_json, write_jsonl
from polite_flamingo.jobs.backends.load import backend_options
from polite_flamingo.jobs.storage import storage_errors
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.params.schema import Params
from polite_flamingo.prompts.rewriting import load_prompts
from polite_flamingo.reasons import Reasons
from polite_flamingo.rewrite.job import RewritingJob
from polite_flamingo.rewrite.provenance import describe_rewriter
from polite_flamingo.rewrite.tally import RewriteTally
from polite_flamingo.tracking.base import Tracker
from polite_flamingo.world.probes import make_probes
from polite_flamingo.world.truth import load_ground_truth

LOG = logging.getLogger(__name__)


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Rewrite every annotation, add probes, report counts.

    Raises:
        DataError: there is no annotation.
        QualityError: more annotations than ``quality.max_rejected_share`` have unusable images or got no answer.
    """
    samples = params.data / "samples" / "annotation"
    total = count_shards(samples) if samples.is_dir() else 0
    if total == 0:
        raise DataError("no annotation samples", where=samples, next_step="run `polite-flamingo download`")
    # Unfinished work stays outside the published folder until that is complete.
    journal = Path(".work") / f"rewrite-{params.profile}" / "journal"
    options = backend_options(params.runtime, params.image_root, params.models)
    prompts = None if params.asks_flamingo else load_prompts(params.rewriting.style)
    job = RewritingJob(samples, total, journal, options, prompts)
    backend, decoding = params.rewriter_backend, GenerationSettings.of(params.generation, seed=params.seed)
    progress = job.run(
        backend,
        decoding,
        params.repair,
        tracker.metrics,
    )
    lost = list(job.lost())
    reasons = Reasons(lost).lines()
    LOG.info("%d of %d records rewritten (%d done before this run)", total - len(lost), total, progress.restored)
    if len(lost) / total > params.quality.max_rejected_share:
        raise QualityError(
            f"{len(lost)} of {total} records could not be rewritten:" + "".join(f"\n    {each}" for each in reasons),
            where=f"rewriter_backend {backend}",
            next_step="mend what the reasons name and start again: finished records are kept, the others tried anew; "
            "or go on without them by a higher `quality: {max_rejected_share: …}` under `overrides` in the profile",
        )
    for reason in reasons:
        LOG.warning("without an answer, in quarantine: %s", reason)
    truth = load_ground_truth(params.image_root)
    clean = (rewrite for rewrite, _ in job.rewrites())
    probes = [] if truth is None else make_probes(truth, clean, params.limits.probes, params.seed)
    out = params.data / "rewrites"
    tally = RewriteTally(truth)
    with storage_errors(out, "publish"), publishing(out) as staging:
        rewrites = (tally.add(rewrite, answer) for rewrite, answer in job.rewrites())
        write_shards(staging, (rewrite.to_row() for rewrite in chain(rewrites, probes)))
        write_jsonl(staging / "quarantine.jsonl", (reject.to_row() for reject in lost))
    report = tally.report(probes, len(lost))
    report["prompt_texts"] = {prompt.version: prompt.text for prompt in (prompts or {}).values()}
    report["rewriter"] = describe_rewriter(backend, decoding, params.backbones.flamingo, params.distortion_backend)
    write_json(params.reports / "rewrite.json", report)
    tracker.params(params.generation.model_dump())
    tracker.metrics({k: float(v) for k, v in report.items() if isinstance(v, int | float)})
    shutil.rmtree(journal.parent, ignore_errors=True)
    return report
