import json
from pathlib import Path
from typing import Any

import pytest
from small_collection import config_for, document

from aplantida_jax import files, paths
from aplantida_jax.data import export_dataset, labels
from aplantida_jax.errors import UserError

URLS = [f"https://example.org/{number}.jpg" for number in range(4)]


def config_with(root: Path, table: str) -> Any:
    """Four photos of what synonyms may make one plant, and a table of them."""
    documents = [
        document("Salvia rosmarinus", URLS[:3]),
        document("Rosmarinus officinalis", URLS[3:]),
    ]
    config = config_for(root, documents)
    config.dataset.min_images_per_species = 4
    (root / "synonyms.json").write_text(table)
    config.dataset.synonyms = str(root / "synonyms.json")
    return config


@pytest.mark.parametrize(
    "table",
    [
        {"ROSMARINUS officinalis L.": "Salvia rosmarinus Spenn."},
        # Two spellings that say the same.
        {
            "Rosmarinus officinalis": "Salvia rosmarinus",
            "ROSMARINUS officinalis L.": "Salvia rosmarinus Spenn.",
        },
        # A chain.
        {"Rosmarinus officinalis": "Rosa nova", "Rosa nova": "Salvia rosmarinus"},
    ],
)
def test_synonyms_are_one_class(tmp_path, table):
    config = config_with(tmp_path, json.dumps(table))
    export_dataset.run(config, tmp_path)
    names = [taxon.latin_name for taxon in labels.read(paths.classes(config)).taxa]
    assert names == ["Salvia rosmarinus"]
    assert len(list(files.read_jsonl(paths.photos(config), made_by=""))) == 4


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('{"Rosa alba": "Rosa nova", "Rosa nova": "Rosa alba"}', "goes in a circle"),
        ('{"Rosa alba": 5}', "not a Latin name"),
        ("[]", "must be a JSON object"),
        (
            '{"Rosa vetus": "Rosa alba", "ROSA vetus L.": "Rosa nova"}',
            "gives 'Rosa vetus' two accepted names, 'Rosa alba' and 'Rosa nova'",
        ),
    ],
)
def test_synonyms_that_make_no_sense(tmp_path, table, message):
    config = config_with(tmp_path, table)
    with pytest.raises(UserError, match=message):
        export_dataset.run(config, tmp_path)
    assert not paths.export_dir(config).exists()
