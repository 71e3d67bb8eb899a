ROWS = [
    {"instruction": "Add.", "input": "1 and 2", "output": "3"},
    {"instruction": "Greet.", "input": "", "output": "Hello."},
    {"instruction": "Wait.", "input": 5, "output": "No."},
    {"instruction": " ", "output": "No."},
]


def test_alpaca_gpt4_reads_the_english_file_alone(root) -> None:
    root.json("alpaca_gpt4/data/alpaca_gpt4_data.json", ROWS)
    root.json("alpaca_gpt4/data/alpaca_gpt4_data_zh.json", ROWS)
    (add, greet), rejects = root.read("alpaca_gpt4", "alpaca_gpt4", "train")
    assert (add.id, add.instruction, greet.instruction) == (
        "alpaca_gpt4/train/alpaca_gpt4_data-0",
        "Add.\n\n1 and 2",
        "Greet.",
    )
    assert [r.reason for r in rejects] == ["'input' is not of type str", "row has an empty 'instruction'"]


def test_a_seed_task_gives_a_sample_per_instance(root) -> None:
    instances = [{"input": "1 and 2", "output": "3"}, {"input": "", "output": "0"}]
    task = {"id": "seed_task_0", "instruction": "Add.", "instances": instances[:1]}
    root.lines("tasks/seed_tasks.jsonl", task, {**task, "id": "seed_task_1", "instances": instances})
    samples, rejects = root.read("alpaca_seed_tasks", "tasks", "train")
    assert [s.id.rpartition("/")[2] for s in samples] == ["seed_task_0", "seed_task_1-0", "seed_task_1-1"]
    assert (samples[0].instruction, samples[2].instruction, rejects) == ("Add.\n\n1 and 2", "Add.", [])


def test_a_broken_seed_task_loses_only_itself(root) -> None:
    for values, reason in [
        ({"instances": []}, "task has no instance"),
        ({"instances": None}, "row lacks 'instances'"),
        ({"instances": ["x"]}, "instance is not an object"),
        ({"instances": [{"input": "", "output": ""}]}, "row has an empty 'output'"),
        ({"instruction": None}, "row lacks 'instruction'"),
        ({"id": 5}, "'id' is not of type str"),
    ]:
        with root.case(values, reason):
            task = {"id": "seed_task_0", "instruction": "Add.", "instances": [{"input": "", "output": "0"}]}
            root.lines("tasks/stanford_seed_tasks.jsonl", {**task, **values}, {**task, "id": "seed_task_1"})
            (sample,), (reject,) = root.read("alpaca_seed_tasks", "tasks", "train")
            assert (sample.id, reject.row, reject.reason) == ("alpaca_seed_tasks/train/seed_task_1", "1", reason)
