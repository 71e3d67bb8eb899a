ROW = {"instruction": "Add.", "input": "", "response": "3"}


def test_the_deduplicated_instruct_file_makes_its_selections_superfluous(root) -> None:
    for name in ("dedupe-only", "similarity-0.9", "similarity-0.6"):
        root.json(f"gpteacher/Instruct/gpt4-instruct-{name}-dataset.json", [ROW])
    root.json("gpteacher/Toolformer/toolformer-dedupe-only-dataset.json", [ROW])
    root.json("gpteacher/Roleplay Supplemental/roleplay-instruct-v2.1.json", [ROW])
    samples, rejects = root.read("gpteacher", "gpteacher", "train")
    names = ["gpt4-instruct-dedupe-only-dataset-0", "roleplay-instruct-v2.1-0"]
    assert ([s.id.rpartition("/")[2] for s in samples], rejects) == (names, [])


def test_without_it_the_largest_selection_is_read(root) -> None:
    for name in ("similarity-0.9", "similarity-0.6"):
        root.json(f"gpteacher/Instruct/gpt4-instruct-{name}-dataset.json", [ROW])
    (sample,), _ = root.read("gpteacher", "gpteacher", "train")
    assert sample.id == "gpteacher/train/gpt4-instruct-similarity-0.9-dataset-0"
