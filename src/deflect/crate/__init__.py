"""The results of a study as a Workflow Run RO-Crate: ``ro-crate-metadata.json`` in its folder, which becomes the crate.

RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) with the profiles Process, Workflow and Provenance Run Crate 0.5
(https://w3id.org/ro/wfrun). Facts are taken from run records and the cards of data and weights. No file is
copied but the Snakefile, which the profile wants in the crate, the configuration and the lock file.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from deflect.analysis.records import StudyRuns
from deflect.config import of_project
from deflect.crate.entities import WORKFLOW, add, add_file, licence, refs
from deflect.crate.inputs import add_store, add_weights
from deflect.crate.runs import add_parameters, add_run, add_software
from deflect.files import atomic_path, write_json
from deflect.settings.study import Study
from deflect.workflow import CRATE_METADATA

LOCK, CITATION = "requirements.lock", "CITATION.cff"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
#: Terms that RO-Crate 1.1 lacks, as the context of Workflow Run RO-Crate defines them.
TERMS = {name: f"https://w3id.org/ro/terms/workflow-run#{name}" for name in ("sha256", "md5")}
BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"


def write_crate(study: Study, runs: StudyRuns, config: Path) -> Path:
    """Describe the folder of a study's results; ``config`` is the file of its configuration.

    Raises:
        DataError: a file of a run changed since the run wrote it.
        ConfigError: a file of the project is missing.
    """
    folder = study.results
    copies = {"Snakefile": of_project("workflow/Snakefile"), "config.yaml": config, LOCK: of_project(LOCK)}
    for name, source in copies.items():
        with atomic_path(folder / WORKFLOW / name) as aside:
            shutil.copyfile(source, aside)
    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms = TERMS
    facts = {"description": "as it was when the crate was written"}
    snakefile, configuration, lock = (add_file(crate, folder, f"{WORKFLOW}/{name}", **facts) for name in copies)
    configuration["description"] = f"as it was when the crate was written; of its studies, {study.name} ran"
    rows: list[Any] = list(runs.runs.sort_values("finished").itertuples())
    records = [row.record for row in rows]
    stores = {name: add_store(crate, study, name, records) for name in runs.runs.dataset.unique()}
    weights = {name: add_weights(crate, study, name, records) for name in runs.runs.gfm.unique()}
    parameters = add_parameters(crate, records)
    software = add_software(crate, records)
    actions = [
        add_run(crate, folder, row, stores, weights, software, chosen)
        for row, chosen in zip(rows, parameters, strict=True)
    ]
    results = [add_file(crate, folder, path) for path in _result_files(folder)]
    _describe_workflow(crate, snakefile, configuration, lock, list(software.values()), records)
    whole = {
        "name": f"study {runs.name}",
        "description": f"{_summary(runs)} The times are those of its first and last run.",
        "instrument": refs([snakefile]),
        "object": refs([configuration, *filter(None, weights.values()), *stores.values()]),
        "result": refs([*results, *(action["result"] for action in actions)]),
        "startTime": min(record.get("started", record["finished"]) for record in records),
        "endTime": records[-1]["finished"],
    }
    done = {} if runs.missing else {"actionStatus": "http://schema.org/CompletedActionStatus"}
    study_action = add(crate, "#study", "CreateAction", **whole, **done)
    folders = [action["result"] for action in actions]
    archives = [entity for entity in crate.get_entities() if entity.id.startswith("https:") and entity.type == "File"]
    root = crate.root_dataset
    root["hasPart"] = refs([snakefile, configuration, lock, *results, *folders, *archives])
    root["mentions"] = refs([study_action, *actions])
    root["mainEntity"] = snakefile
    _describe_root(crate, runs, records)
    write_json(folder / CRATE_METADATA, crate.metadata.generate())
    return folder / CRATE_METADATA


def _result_files(folder: Path) -> list[str]:
    """Every file of the results but those of runs, of this module and hidden ones; paths below ``folder``."""
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    names = [path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)]
    own = (f"{WORKFLOW}/", "runs/")
    return [*sorted(name for name in names if not name.startswith(own) and name != CRATE_METADATA), "runs/index.csv"]


def _summary(runs: StudyRuns) -> str:
    """What the crate has and what it lacks."""
    lacking = f" Missing runs: {len(runs.missing)}." if runs.missing else ""
    stale = f" Left out, because they do not belong with the others: {len(runs.stale)}." if len(runs.stale) else ""
    return f"{len(runs.runs)} training runs on {runs.data}, their tables and figures.{lacking}{stale}"


def _describe_root(crate: ROCrate, runs: StudyRuns, records: list[dict[str, Any]]) -> None:
    """Name, date, licence, citation and profiles of the crate."""
    cff = yaml.safe_load(of_project(CITATION).read_text(encoding="utf-8"))
    [paper] = cff["references"]
    authors = [f"{author['given-names']} {author['family-names']}" for author in paper["authors"]]
    people = [add(crate, f"#{name.replace(' ', '_')}", "Person", name=name) for name in authors]
    article = add(crate, paper["url"], "ScholarlyArticle", name=paper["title"], author=refs(people))
    root = crate.root_dataset
    root["name"] = f"deflect, study {runs.name}"
    root["description"] = (
        f"{_summary(runs)} A replication of {paper['title']} ({paper['url']}). The licence is that of the software; "
        "datasets and weights have their own."
    )
    root["datePublished"] = records[-1]["finished"]
    root["license"] = licence(crate, cff["license"])
    root["citation"] = article
    profiles = [
        add(crate, address, "CreativeWork", name=name, version=address.rpartition("/")[2])
        for address, name in PROFILES.items()
    ]
    root["conformsTo"] = refs(profiles)
    crate.metadata["conformsTo"] = [{"@id": crate.metadata.profile}, {"@id": profiles[-1].id}]


def _describe_workflow(
    crate: ROCrate,
    snakefile: Entity,
    configuration: Entity,
    lock: Entity,
    software: list[Entity],
    records: list[dict[str, Any]],
) -> None:
    """The Snakefile as the workflow, with its language, its one step that training runs are of, and its input."""
    language = add(
        crate,
        "https://w3id.org/workflowhub/workflow-ro-crate#snakemake",
        ["ComputerLanguage", "SoftwareApplication"],
        name="Snakemake",
        url="https://snakemake.readthedocs.io",
        version=version("snakemake"),
    )
    step = add(crate, "#train", "HowToStep", name="train", workExample=refs(software))
    entry = add(
        crate,
        "#config",
        "FormalParameter",
        name="config",
        additionalType="File",
        workExample=refs([configuration]),
        conformsTo={"@id": "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"},
    )
    configuration["exampleOfWork"] = entry
    snakefile._jsonld["@type"] = ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]
    snakefile["programmingLanguage"] = language
    snakefile["version"] = ", ".join(dict.fromkeys(entity["softwareVersion"] for entity in software))
    snakefile["conformsTo"] = {"@id": BIOSCHEMAS}
    snakefile["hasPart"] = refs(software)
    snakefile["step"] = refs([step])
    snakefile["input"] = refs([entry])
    snakefile["softwareRequirements"] = refs([lock])
