"""A teacher's dense answers, drawn, and a split of photos that they are about."""

import numpy as np
import scipy.special

from aplantida_jax import paths
from aplantida_jax.data import labels, records
from aplantida_jax.distill import predict, rows
from configs import teacher_global

PHOTOS, TAXA, K = 40, 7, 3


def taxa():
    names = [f"Mentha {i}" for i in range(TAXA)]
    return labels.LabelMap(
        tuple(
            labels.Taxon(i, name, "", "", "Mentha", "", (), ())
            for i, name in enumerate(names)
        )
    )


def photo(image_id, class_id):
    return records.Photo(
        image_id=image_id,
        plant_id="",
        latin_name=f"Mentha {class_id}",
        class_id=class_id,
        url=image_id,
        source="",
        licence="CC0-1.0",
        licence_raw="",
        attribution="",
        countries=(),
        regions=(),
    )


def configuration(root):
    """A split of `PHOTOS` photos, and a configuration that imports `given.npz`."""
    config = teacher_global.get_config()
    config.data_dir = str(root)
    config.predict.update({"import_npz": str(root / "given.npz"), "top_k": K})
    labels.write(paths.classes(config), taxa())
    photos = [photo(f"{i * 0x1234567890ABCD:016x}", i % TAXA) for i in range(PHOTOS)]
    records.write_photos(paths.split_file(config, "train"), photos)
    return config


def answers(seed=0, count=PHOTOS):
    """What a teacher might say of the split, in its order."""
    rng = np.random.default_rng(seed)
    return {
        "logits": rng.normal(0, 2, (count, TAXA)).astype(np.float32),
        "indices": np.arange(count) % TAXA,
        "confidences": np.zeros(count, np.float32),
        "image_id": np.arange(count, dtype=np.uint64) * np.uint64(0x1234567890ABCD),
    }


def give(config, content, save=np.savez):
    save(config.predict.import_npz, **content)


def imported(config):
    predict.run(config, paths.run_dir(config, "none"))
    return shards(paths.soft_labels(config, config.name, "train"))


def shards(directory):
    """The bytes of all rows of a store."""
    return np.concatenate(
        [np.fromfile(p, "u1") for p in sorted(directory.glob("shard-*"))]
    )


def expected(content):
    layout = rows.Layout(K, TAXA)
    logits = content["logits"].astype(np.float64)
    top = rows.top(scipy.special.softmax(logits, axis=1), K)
    return rows.pack(content["image_id"], *top, layout)
