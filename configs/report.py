"""The report: manifest YAML, criteria, licence verdict, HTML page and PNG dashboard.

    python -m aplantida_jax.main --config=configs/report.py

Seconds; reads what the other stages left and says what is missing.
"""

from configs import common, presets


def get_config(variant: str = ""):
    config = common.base("report", "report", variant)
    if variant == "demo":
        presets.demo_data(config)
        config.report.runs = (*config.report.runs, "student_labels")
    if variant == "photos":
        presets.photos_data(config)
        config.report.runs = ("baseline", "student_photos")
        config.export.run = "student_photos"
        config.export.name = "student_photos"
    return config
