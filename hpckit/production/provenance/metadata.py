"""RO-Crate metadata of a run: Workflow Run Crate 0.5 on RO-Crate 1.1, with terms of W3C PROV beside them.

The workflow is the campaign as it was frozen. Folders of result files do not have it: their metadata are a Process
Run Crate, whose instrument is hpckit.

Sources: RO-Crate 1.1 (w3id.org/ro/crate/1.1), Process Run Crate 0.5 and Workflow Run Crate 0.5 (w3id.org/ro/wfrun),
Workflow RO-Crate 1.0 (w3id.org/workflowhub/workflow-ro-crate), PROV-O (www.w3.org/TR/prov-o). Products and outputs
that lie outside of the crate are contextual entities: they have identifiers and digests, and no path.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from hpckit.cubes.made import Made
from hpckit.inputs.uri import is_remote
from hpckit.production.provenance import crate, entities
from hpckit.production.provenance.entities import HPCKIT, About, Entity
from hpckit.production.provenance.inputs import Loaded, OtherFile, Product
from hpckit.production.provenance.record import Record, text_of

_SPECIFICATION: Final = "https://w3id.org/ro/crate/1.1"
_WORKFLOW: Final = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
_OF_FILES: Final = {"https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate"}
_OF_RUN: Final = {
    **_OF_FILES,
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    _WORKFLOW: "Workflow RO-Crate",
}
"""Profiles, by their address, which ends with their version."""
_TERMS: Final = "https://w3id.org/ro/terms/workflow-run#"
_ACTION: Final = "#run"
_CONTEXT: Final = [
    f"{_SPECIFICATION}/context",
    {
        "prov": "http://www.w3.org/ns/prov#",
        "sha256": "https://schema.org/sha256",
        "containerImage": f"{_TERMS}containerImage",
        "ContainerImage": f"{_TERMS}ContainerImage",
        "resourceUsage": f"{_TERMS}resourceUsage",
    },
]
_WORDS: Final = {"shards": "array, by its shards", "signatures": "signatures of a tile", "file": "file"}


def metadata(record: Record, files: Mapping[str, bytes], about: About) -> dict[str, Any]:
    """Content of `ro-crate-metadata.json`.

    Parameters
    ----------
    files : mapping of str to bytes
        All other files of the crate.
    """
    parts = [_file(name, content) for name, content in sorted(files.items())]
    results = [_output(item) for item in record.outputs if item.digest]
    used = [part for part in parts if part["@id"] == crate.CAMPAIGN or part["@id"].startswith("inputs/")]
    lists = [part for part in parts if part["@id"] == crate.OUTPUTS]
    document = _graph(record, about, parts, used, results, lists, _OF_RUN)
    _name_the_workflow({item["@id"]: item for item in document["@graph"]}, record)
    document["@graph"].append(entities.language(record.software))
    return document


def _name_the_workflow(by_id: Mapping[str, Entity], record: Record) -> None:
    """Make the campaign file the main workflow, of which the run was an execution."""
    by_id[crate.METADATA]["conformsTo"] = _refer([{"@id": _SPECIFICATION}, {"@id": _WORKFLOW}])
    by_id["./"]["mainEntity"] = by_id[_ACTION]["instrument"] = {"@id": crate.CAMPAIGN}
    by_id[crate.CAMPAIGN] |= {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": f"Campaign {record.run.campaign.name}",
        "version": record.run.frozen,
        "conformsTo": {"@id": entities.BIOSCHEMAS},
        "programmingLanguage": {"@id": entities.LANGUAGE},
        "softwareRequirements": {"@id": HPCKIT},
    }


def of_folder(record: Record, about: About, made: Mapping[str, Made]) -> dict[str, Any]:
    """Metadata of a folder of result files, for those who get only these.

    Parameters
    ----------
    made : mapping of str to Made
        Files, by their path in the folder.
    """
    parts = [_result_file(name, item) for name, item in sorted(made.items())]
    return _graph(record, about, parts, [], parts, [], _OF_FILES)


def _graph(
    record: Record,
    about: About,
    parts: Sequence[Entity],
    used: Sequence[Entity],
    results: Sequence[Entity],
    lists: Sequence[Entity],
    profiles: Mapping[str, str],
) -> dict[str, Any]:
    """The whole document.

    Parameters
    ----------
    parts : sequence of Entity
        Files of the crate.
    used, lists : sequence of Entity
        Those of them that the run used, and that list its outputs.
    results : sequence of Entity
        Outputs, which may be files of the crate.
    """
    used_products = {product.id: product for item in record.loaded for product in item.products}
    used_products |= {product.id: product for product in record.products}
    inputs = [*map(_product, used_products.values()), *map(_other, record.others), *map(_loaded, record.loaded)]
    people, licence, usage = entities.people(about), entities.licence(about), list(entities.usage(record))
    images = [entities.container(image) for image in record.software.images]
    agents = [people] if people else []
    made = [*results, *lists]
    action = _action(record, [*inputs, *used], made, agents, images, usage)
    for item in made:
        item["prov:wasGeneratedBy"] = {"@id": _ACTION}
        item["prov:wasDerivedFrom"] = _refer(inputs)
    outside = [item for item in results if item not in parts]
    return {
        "@context": _CONTEXT,
        "@graph": [
            {
                "@id": crate.METADATA,
                "@type": "CreativeWork",
                "about": {"@id": "./"},
                "conformsTo": {"@id": _SPECIFICATION},
            },
            _root(record, parts, licence, agents, profiles),
            *(
                {"@id": address, "@type": "CreativeWork", "name": name, "version": address.rpartition("/")[2]}
                for address, name in profiles.items()
            ),
            action,
            *entities.programs(record.software),
            *images,
            *agents,
            licence,
            *usage,
            *parts,
            *inputs,
            *outside,
        ],
    }


def _root(
    record: Record, parts: Sequence[Entity], licence: Entity, agents: Sequence[Entity], profiles: Iterable[str]
) -> Entity:
    name = record.run.campaign.name
    organisations = [agent for agent in agents if "Organization" in agent["@type"]]
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Campaign {name}",
        "description": f"How the outputs of run {record.run.run_id} of campaign {name} were made by hpckit: inputs, "
        "settings, software, resources, and digests of all outputs. `hpckit reproduce` makes them again.",
        "datePublished": text_of(record.end),
        "license": {"@id": licence["@id"]},
        "conformsTo": _refer({"@id": address} for address in profiles),
        **({"author": _refer(agents)} if agents else {}),
        **({"publisher": _refer(organisations)} if organisations else {}),
        "hasPart": _refer(parts),
        "mentions": {"@id": _ACTION},
    }


def _action(
    record: Record,
    used: Sequence[Entity],
    made: Sequence[Entity],
    people: Sequence[Entity],
    images: Sequence[Entity],
    usage: Sequence[Entity],
) -> Entity:
    failed = {"error": record.lacks} if record.lacks else {}
    state = "FailedActionStatus" if record.lacks else "CompletedActionStatus"
    units = ", ".join(f"{stage} {count}" for stage, count in record.units.items())
    return {
        "@id": _ACTION,
        "@type": ["CreateAction", "prov:Activity"],
        "identifier": record.run.run_id,
        "name": f"Run {record.run.run_id} of campaign {record.run.campaign.name}",
        "description": f"hpckit run, from frozen inputs {record.run.frozen}; units done: {units}",
        "startTime": text_of(record.start),
        "endTime": text_of(record.end),
        "actionStatus": f"http://schema.org/{state}",
        **failed,
        "instrument": {"@id": HPCKIT},
        **({"agent": _refer(people)} if people else {}),
        **({"containerImage": _refer(images)} if images else {}),
        **({"resourceUsage": _refer(usage)} if usage else {}),
        "object": _refer(used),
        "result": _refer(made),
        "prov:used": _refer(used),
        "prov:wasAssociatedWith": _refer([{"@id": HPCKIT}, *people]),
    }


def _refer(entities: Iterable[Entity]) -> list[Entity] | Entity:
    """References; a single one is no list, as RO-Crate recommends."""
    found = [{"@id": item["@id"]} for item in entities]
    return found[0] if len(found) == 1 else found


def _file(name: str, content: bytes) -> Entity:
    known = {".parquet": "application/vnd.apache.parquet", ".geojson": "application/geo+json"}
    ending = f".{name.rpartition('.')[2]}"
    return {
        "@id": quote(name),
        "@type": "File",
        "name": name,
        "encodingFormat": known.get(ending) or mimetypes.guess_type(name)[0] or "text/plain",
        "contentSize": str(len(content)),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _result_file(name: str, made: Made) -> Entity:
    kind = "image/tiff; application=geotiff; profile=cloud-optimized" if name.endswith(".tif") else ""
    return {
        "@id": quote(name),
        "@type": "File",
        "name": made.name,
        "encodingFormat": kind or mimetypes.guess_type(name)[0] or "application/octet-stream",
        "contentSize": str(made.nbytes),
        "sha256": made.digest,
    }


def _product(product: Product) -> Entity:
    known = {"url": product.place} if is_remote(product.place) else {"disambiguatingDescription": product.place}
    return {
        "@id": f"#product/{quote(product.id)}",
        "@type": ["CreativeWork", "prov:Entity"],
        "name": product.id,
        "identifier": [product.id, *([f"hpckit-content:{product.digest}"] if product.digest else [])],
        "temporalCoverage": product.sensed,
        **known,
    }


def _other(other: OtherFile) -> Entity:
    return {
        "@id": f"#file/{quote(other.field)}",
        "@type": ["CreativeWork", "prov:Entity"],
        "name": f"{other.field}: {other.name}",
        "identifier": f"hpckit-content:{other.digest}",
        "disambiguatingDescription": other.place,
    }


def _loaded(item: Loaded) -> Entity:
    return {
        "@id": f"#loaded/{quote(item.field)}/{item.digest[:16]}",
        "@type": ["CreativeWork", "prov:Entity"],
        "name": f"{item.field}: {item.process} {item.place}",
        "identifier": f"hpckit-content:{item.digest}",
        "url": item.place,
    }


def _output(made: Made) -> Entity:
    digest = {"sha256": made.digest} if made.kind == "file" else {"identifier": f"hpckit-content:{made.digest}"}
    return {
        "@id": f"#output/{quote(made.name)}",
        "@type": ["CreativeWork", "prov:Entity"],
        "name": made.name,
        "description": f"{_WORDS[made.kind]}; {made.count} in all",
        **digest,
    }
