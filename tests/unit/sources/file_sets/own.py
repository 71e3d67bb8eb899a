"""Forms of your own data."""

from __future__ import annotations

import io
import tarfile
from typing import Any

from PIL import Image as PILImage
from tests.unit.sources.file_sets.form import Case, Records, case_into
from tests.unit.sources.file_sets.instructions import said
from tests.unit.sources.file_sets.pieces import NOBODY, Files, Record, csv_line, parquet

CASES: list[Case] = []
case = case_into(CASES)


@case("llava_json", "all")
def llava_json(files: Files, records: Records) -> None:
    rows = [{"id": str(r.number), "image": f"{r.number}.jpg", "conversations": said(r)} for r in records]
    files.listed("set/mine.json", rows)


@case("sharegpt_json", "all")
def sharegpt_json(files: Files, records: Records) -> None:
    rows = [{"id": str(r.number), "images": [f"{r.number}.jpg"], "conversations": said(r)} for r in records]
    files.listed("set/mine.json", rows)


def _messages(r: Record) -> dict[str, Any]:
    asked = [{"type": "image", "index": 0}, {"type": "text", "text": r.texts[0]}]
    said = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": [{"type": "text", "text": r.texts[1]}]},
    ]
    return {"id": str(r.number), "messages": said, "images": [f"{r.number}.jpg"]}


@case("messages_json", "all", "lines")
def messages_lines(files: Files, records: Records) -> None:
    files.lines("set/mine.jsonl", [_messages(r) for r in records])


@case("messages_json", "all", "parquet", columns=True)
def messages_parquet(files: Files, records: Records) -> None:
    buffer = io.BytesIO()
    PILImage.new("RGB", (4, 4)).save(buffer, "PNG")
    rows = [{**_messages(r), "images": [{"bytes": buffer.getvalue(), "path": None}]} for r in records]
    parquet(files, "set/mine.parquet", rows)


@case("pf1m_json", "all")
def pf1m_json(files: Files, records: Records) -> None:
    rows = [
        {
            "input": f"<img_path>coco/{r.number}.jpg<img_path>{r.texts[0]}",
            "output": r.texts[1],
            "original": r.texts[2],
            "rouge_score": 0.5,
            "nli_similarity": [0.1, 0.2, 0.7],
        }
        for r in records
    ]
    files.listed("set/PF_vqa.json", rows)


@case("datajuicer_jsonl", "all")
def datajuicer_jsonl(files: Files, records: Records) -> None:
    rows = [
        {
            "id": str(r.number),
            "text": f"[[human]]: <__dj__image>\n{r.texts[0]}\n[[gpt]]: {r.texts[1]} <|__dj__eoc|>",
            "images": [f"{r.number}.jpg"],
        }
        for r in records
    ]
    files.lines("set/mine.jsonl", rows)


@case("webdataset", "all", own=False)
def webdataset(files: Files, records: Records) -> None:
    picture = io.BytesIO()
    PILImage.new("RGB", (4, 4)).save(picture, "PNG")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for r in records:
            for ending, data in (("png", picture.getvalue()), ("txt", r.texts[0].encode())):
                member = tarfile.TarInfo(f"{r.number}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    files.add("set/000000.tar", buffer.getvalue())


MAPPING = "task: vqa\nlicence: none\nquestion: q\nanswer: a\nimage: picture\nid: key\nfile: "


def _row(r: Record) -> dict[str, Any]:
    return {"key": str(r.number), "q": r.texts[0], "a": r.texts[1], "picture": f"{r.number}.jpg"}


@case("table", "all", "lines")
def table_lines(files: Files, records: Records) -> None:
    files.add("set/mapping.yaml", f"{MAPPING}mine.jsonl\n")
    files.lines("set/mine.jsonl", [_row(r) for r in records])


@case("table", "all", "list")
def table_list(files: Files, records: Records) -> None:
    files.add("set/mapping.yaml", f"{MAPPING}mine.json\n")
    files.listed("set/mine.json", [_row(r) for r in records])


@case("table", "all", "csv", own=False)
def table_csv(files: Files, records: Records) -> None:
    rows = [csv_line(str(r.number), r.lines[0], r.texts[1], f"{r.number}.jpg") for r in records]
    files.add("set/mapping.yaml", f"{MAPPING}mine.csv\n")
    head = (NOBODY, csv_line("key", "q", "a", "picture"))
    files.add("set/mine.csv", [head, *((frozenset({index}), row) for index, row in enumerate(rows))])


@case("table", "all", "tsv")
def table_tsv(files: Files, records: Records) -> None:
    files.add("set/mapping.yaml", f"{MAPPING}mine.tsv\nquotes: false\n")
    rows = ["\t".join((str(r.number), *r.lines[:2], f"{r.number}.jpg")).replace("\0", "") for r in records]
    files.lines("set/mine.tsv", rows, head="key\tq\ta\tpicture\n")


@case("table", "all", "parquet", columns=True)
def table_parquet(files: Files, records: Records) -> None:
    files.add("set/mapping.yaml", f"{MAPPING}mine.parquet\n")
    parquet(files, "set/mine.parquet", [_row(r) for r in records])
