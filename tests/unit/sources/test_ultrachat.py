NAMES = [
    "ultrachat_release_230407_Questions about the World [Part I + Part II].json",
    "ultrachat_material_release_230412_Writing and Creation [Part I].json",
    "ultrachat_material_release_230417_Writing and Creation [Part II].json",
    "ultrachat_existent_material_release_230420_Assistance on Existent Materials [Part I].json",
    "train_9.jsonl",
]


def test_every_official_name_is_json_lines(root) -> None:
    for name in NAMES:
        with root.case(name):
            root.lines(f"ultrachat/{name}", {"id": "0", "data": ["Hi", "Hello."]}, {"id": "1", "data": ["Bye", "Bye."]})
            samples, rejects = root.read("ultrachat", "ultrachat", "train")
            assert ([s.response for s in samples], rejects) == (["Hello.", "Bye."], [])


def test_ids_that_start_anew_in_every_file_stay_apart(root) -> None:
    for name in NAMES:
        root.lines(f"ultrachat/{name}", {"id": "0", "data": ["Hi", "Hello."]})
    samples, _ = root.read("ultrachat", "ultrachat", "train")
    assert len({s.id for s in samples}) == len(NAMES)
