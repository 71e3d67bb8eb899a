"""Changes between two images."""

from __future__ import annotations

from tests.unit.sources.file_sets.captions import karpathy
from tests.unit.sources.file_sets.form import Case, Records, case_into
from tests.unit.sources.file_sets.pieces import Files

CASES: list[Case] = []
case = case_into(CASES)


@case("spot_the_diff", "train")
def spot_the_diff(files: Files, records: Records) -> None:
    rows = [{"img_id": str(r.number), "sentences": list(r.texts)} for r in records]
    files.listed("set/annotations/train.json", rows)


@case("image_editing_request", "train")
def image_editing_request(files: Files, records: Records) -> None:
    rows = [
        {"uid": str(r.number), "img0": f"{r.number}_0.jpg", "img1": f"{r.number}_1.jpg", "sents": [r.texts[0]]}
        for r in records
    ]
    files.listed("set/dataset/adobe/train.json", rows)


@case("levir_cc", "train")
def levir_cc(files: Files, records: Records) -> None:
    files.under("set/LevirCCcaptions.json", images=[{**row, "changeflag": 1} for row in karpathy(records)])
