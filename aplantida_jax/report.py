"""Stage `report`: what came of it all, for people and for the record.

Reads what the other stages left, lists what is missing with the command that makes it,
and writes to `<runs_dir>/report/`:

    report.html                       the page, self-contained
    dashboard.png                     the same on one sheet
    TRAINING_MANIFEST_v<version>.yaml the plan's record
    criteria.json                     {criteria: [{phase, name, unit, measured,
                                      relation, target, interval, note, verdict,
                                      certain}]}
    licence_verdict.json              {run, publishable, reasons, provenance}
"""

import contextlib
import datetime
import json
from pathlib import Path
from typing import Any

from absl import logging

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import licences
from aplantida_jax.reporting import charts as charts_lib
from aplantida_jax.reporting import criteria as criteria_lib
from aplantida_jax.reporting import dashboard, gather, page, yaml_manifest
from aplantida_jax.reporting.criterion import Criterion, at, in_unit
from aplantida_jax.reporting.findings import Findings
from aplantida_jax.reporting.headline import headline
from aplantida_jax.reporting.thumbnails import Thumbnails


def run(config: Any, workdir: Path) -> None:
    """Writes the report; `workdir` is not used, the report has its own place."""
    del workdir
    out_dir = paths.report_dir(config)
    found = gather.gather(config)
    job = manifest.begin(
        config,
        stage="report",
        out_dir=out_dir,
        inputs=found.inputs,
        depends_on=("report", "export", "variant"),
    )
    if job is None:
        return
    if config.dry_run:
        _say_missing(found)
        logging.info("would write the report into %s", out_dir)
        return
    rows = criteria_lib.table(found)
    written = _write(config, found, rows, out_dir)
    _log(found, rows)
    _say_missing(found)
    logging.info("report: %s", out_dir / "report.html")
    job.finish(
        outputs=written,
        metrics={row.name: row.measured for row in rows},
        label_map=found.label_map.fingerprint if found.label_map else "",
    )


def licence_verdict(found: Findings) -> dict[str, Any]:
    """May the student ship? From its ancestors' licences."""
    run = found.run(found.student)
    provenance = at(run.best if run else None, "provenance") or []
    publishable, reasons = licences.verdict(provenance)
    return {
        "run": found.student,
        "publishable": publishable,
        "reasons": reasons,
        "provenance": provenance,
    }


def _write(
    config: Any, found: Findings, rows: list[Criterion], out_dir: Path
) -> list[Path]:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    edition = page.Edition(str(config.report.version), config.variant, now, config.seed)
    record = yaml_manifest.build(found, config, timestamp=now)
    verdict = licence_verdict(found)
    charts = charts_lib.charts(found)
    with contextlib.closing(Thumbnails(config)) as thumbnails:
        html = page.build(
            found,
            edition,
            criteria=rows,
            charts=charts,
            verdict=verdict,
            manifest_yaml=yaml_manifest.dump(record),
            thumbnails=thumbnails,
        )
    sheet = dashboard.render(
        charts,
        title="Training report",
        subtitle=page.subtitle(found, edition.version),
        figures=headline(found, rows, verdict),
    )
    contents = {
        "report.html": html.encode(),
        "dashboard.png": sheet,
        f"TRAINING_MANIFEST_v{edition.version}.yaml": yaml_manifest.dump(
            record
        ).encode(),
        "criteria.json": _json({"criteria": [row.to_json() for row in rows]}),
        "licence_verdict.json": _json(verdict),
    }
    for name, content in contents.items():
        files.write_bytes(out_dir / name, content)
    return [out_dir / name for name in contents]


def _json(value: Any) -> bytes:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def _say_missing(found: Findings) -> None:
    for part in found.missing:
        logging.warning("missing: %s (%s); %s", part.what, part.reason, part.command)


def _log(found: Findings, rows: list[Criterion]) -> None:
    """The table at the end: runs, then criteria."""
    logging.info("%-18s %7s %7s   %s", "on test", "top-1", "top-5", "per region, top-1")
    for run in found.runs:
        test = run.test
        if test is None:
            logging.info("%-18s not evaluated", run.name)
            continue
        regions = ", ".join(
            f"{name} {_share(row['top1_accuracy'])}"
            for name, row in run.per_region.items()
        )
        logging.info(
            "%-18s %7s %7s   %s",
            run.name,
            _share(test["top1_accuracy"]),
            _share(test["top5_accuracy"]),
            regions,
        )
    for row in rows:
        logging.info(
            "%-42s %12s  %-10s %-12s %s",
            row.name,
            row.measured_text(),
            row.target_text(),
            row.verdict,
            row.note,
        )


def _share(value: float | None) -> str:
    return "—" if value is None else in_unit(value, "share")
