"""Who descends from whom, from the inputs that manifests name."""

from pathlib import Path

import finished_project
from finished_project import record

from aplantida_jax.reporting import lineage

PROVENANCE = [
    {"name": "dataset_train.jsonl", "kind": "data", "licences": ["CC0-1.0"]},
    {"name": "dataset_eu_sw_train.jsonl", "kind": "data", "licences": ["CC-BY-4.0"]},
    {"name": "net.safetensors", "kind": "weights", "licences": ["Apache-2.0"]},
    {"name": "student_distill", "kind": "teacher", "licences": []},
    {"name": "teacher_global", "kind": "teacher", "licences": []},
    {"name": "teacher_eu_sw", "kind": "teacher", "licences": []},
]


def outline(node, depth=0):
    """The tree as lines, to be compared at a glance."""
    mark = " (again)" if node.again else ""
    lines = [f"{'  ' * depth}{node.kind} {node.name}{mark}"]
    for child in node.ancestors:
        lines += outline(child, depth + 1)
    return lines


def tree(records, provenance=PROVENANCE):
    where = Path("workdirs/student_finetune")
    return lineage.tree(where, "student_finetune", records, provenance)


def test_the_chain_of_a_pipeline():
    root = tree(finished_project.records_of_a_pipeline())
    assert outline(root) == [
        "student student_finetune",
        "  photos dataset_train.jsonl",
        "  run student_distill",
        "    photos dataset_train.jsonl",
        "    weights net.safetensors",
        "    soft labels combined",
        "      teacher teacher_global",
        "        photos dataset_train.jsonl",
        "      teacher teacher_eu_sw",
        "        photos dataset_eu_sw_train.jsonl",
        "        teacher teacher_global (again)",
    ]
    photos = root.ancestors[0]
    assert photos.licences == ("CC0-1.0",)


def test_without_manifests_the_ancestors_hang_from_the_student():
    root = tree(())
    assert [a.name for a in root.ancestors] == [row["name"] for row in PROVENANCE]


def test_an_imported_teacher_keeps_its_licence():
    foreign = {"name": "theirs", "kind": "teacher", "licences": ["CC-BY-NC-4.0"]}
    records = [
        record("predict", "d/soft_labels/theirs/train", ["d/logits.npz"]),
        record(
            "combine",
            "d/soft_labels/combined/train",
            ["d/soft_labels/theirs/train/store.json"],
        ),
        record(
            "train",
            "workdirs/student_finetune",
            ["d/soft_labels/combined/train/store.json"],
        ),
    ]
    root = tree(records, [foreign])
    assert outline(root) == [
        "student student_finetune",
        "  soft labels combined",
        "    teacher theirs",
    ]
    assert lineage.nodes(root)[-1].licences == ("CC-BY-NC-4.0",)
