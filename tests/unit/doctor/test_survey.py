import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polite_flamingo.doctor import survey as module
from polite_flamingo.doctor.examine import ImageFacts, examine
from polite_flamingo.doctor.survey import list_images, results_file, survey
from polite_flamingo.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return (tmp_path / "data").resolve()


def run(root, paths, tmp_path, workers=1):
    return survey(root, paths, results=tmp_path / "results.jsonl", workers=workers)


def test_images_are_listed_folder_by_folder(root, save):
    for name in ("b/2.JPG", "a/1.png", "a/x.json", "a/.hidden.png", ".git/3.png", "derived/ab/4.png", "0.gif"):
        save(name, b"x")
    assert list(list_images(root)) == ["0.gif", "a/1.png", "b/2.JPG"]


def test_a_linked_folder_inside_the_root_is_listed_once(root, save):
    save("a/1.png", b"x")
    (root / "b").symlink_to(root / "a")
    assert list(list_images(root)) == ["a/1.png"]


def test_a_linked_folder_that_leads_out_is_named_and_not_entered(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").write_bytes(b"x")
    (root / "coco").symlink_to(tmp_path / "elsewhere")
    assert list(list_images(root)) == ["coco"]
    assert examine(root, "coco").problem == "outside"


def test_results_keep_the_order_of_the_paths(root, save, picture, tmp_path):
    names = [f"{number}.png" for number in (3, 1, 2)]
    for seed, name in enumerate(names):
        save(name, picture(seed))
    found, examined = run(root, names, tmp_path)
    assert [row.path for row in found] == names
    assert examined == 3


def test_processes_find_what_one_finds(root, save, picture, tmp_path):
    names = [f"{number}.png" for number in range(70)]
    for number, name in enumerate(names):
        save(name, picture(number, (40, 30)) if number % 7 else b"broken")
    one = survey(root, names, results=tmp_path / "one.jsonl", workers=1)
    assert survey(root, names, results=tmp_path / "two.jsonl", workers=2) == one
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def test_a_second_run_examines_nothing(root, save, picture, tmp_path):
    save("a.png", picture(1))
    first, _ = run(root, ["a.png"], tmp_path)
    assert run(root, ["a.png"], tmp_path) == (first, 0)


@pytest.mark.parametrize("change", ["content", "time"])
def test_a_changed_file_is_examined_again(root, save, picture, tmp_path, change):
    file = save("a.png", picture(1))
    run(root, ["a.png"], tmp_path)
    if change == "content":
        save("a.png", picture(2, (200, 200)))
    else:
        os.utime(file, ns=(1, 1))
    found, examined = run(root, ["a.png"], tmp_path)
    assert examined == 1
    assert found == [examine(root, "a.png")]


def test_a_line_cut_by_a_kill_is_examined_again_and_harms_no_other(root, save, picture, tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save(name, picture(ord(name[0])))
    first, _ = run(root, ["a.png", "b.png"], tmp_path)
    results = tmp_path / "results.jsonl"
    results.write_bytes(results.read_bytes()[:-30])
    assert run(root, ["a.png", "b.png", "c.png"], tmp_path)[1] == 2
    found, examined = run(root, ["a.png", "b.png", "c.png"], tmp_path)
    assert examined == 0
    assert found[:2] == first


def test_a_bit_flipped_in_a_result_has_its_image_examined_again(root, save, picture, tmp_path):
    save("a.png", picture(1))
    found, _ = run(root, ["a.png"], tmp_path)
    results = tmp_path / "results.jsonl"
    whole = results.read_bytes()
    for place in range(0, 8 * len(whole), 37):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        results.write_bytes(damaged)
        again, examined = run(root, ["a.png"], tmp_path)
        assert (again, examined) == (found, 1), place


def test_a_link_is_looked_at_again_when_it_was_outside(root, save, picture, tmp_path):
    picture(1).save(tmp_path / "x.png")
    (root / "a.png").symlink_to(tmp_path / "x.png")
    assert run(root, ["a.png"], tmp_path)[0][0].problem == "outside"
    (root / "a.png").unlink()
    (tmp_path / "x.png").rename(root / "a.png")
    assert run(root, ["a.png"], tmp_path)[0][0].problem is None


def test_results_that_cannot_be_written_are_named(root, tmp_path):
    (tmp_path / "results.jsonl").mkdir()
    with pytest.raises(DataError, match="results cannot be written"):
        run(root, [], tmp_path)


def test_each_data_root_has_its_own_results(tmp_path):
    assert results_file(tmp_path, Path("/a")) != results_file(tmp_path, Path("/b"))


def _dies_on_seven(root, path):
    if path == "7.png":
        os.kill(os.getpid(), signal.SIGKILL)
    return ImageFacts(path)


def _all_or_death(root, paths):
    return [_dies_on_seven(root, path) for path in paths]


def test_a_file_that_kills_its_decoder_is_found_and_the_rest_goes_on(root, save, tmp_path, monkeypatch):
    names = [f"{number}.png" for number in range(12)]
    for name in names:
        save(name, b"x")
    monkeypatch.setattr(module, "CHUNK", 4)
    monkeypatch.setattr(module, "_examine_all", _all_or_death)
    monkeypatch.setattr(module, "_pool", _forking_pool)
    found, examined = run(root, names, tmp_path, workers=2)
    assert examined == 12
    assert [row.path for row in found] == names
    assert [row.path for row in found if row.problem == "broken"] == ["7.png"]


def _forking_pool(workers):  # what this test replaces is known to a forked process only
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(root, save, picture, tmp_path):
    names = [f"{number:04d}.png" for number in range(200)]
    for number, name in enumerate(names):
        save(name, picture(number, (300, 200)))
    results = tmp_path / "results.jsonl"
    code = (
        "import sys; from pathlib import Path; from polite_flamingo.doctor.survey import *; root = Path(sys.argv[1]);"
        "survey(root, list_images(root), results=Path(sys.argv[2]), workers=1)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])}
    command = [sys.executable, "-c", code, str(root), str(results)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while not results.exists() or results.read_bytes().count(b"\n") < 64:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = sum(1 for line in results.read_text().splitlines() if _is_json(line[9:]))
    found, examined = survey(root, list_images(root), results=results, workers=1)
    assert examined == 200 - done
    assert found == [examine(root, name) for name in names]


def _is_json(line):
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
