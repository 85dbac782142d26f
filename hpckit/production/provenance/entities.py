"""People, programs, images and resources in RO-Crate metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from hpckit.base.version import __version__
from hpckit.production.provenance.record import Record
from hpckit.production.provenance.software import Image, Software

HPCKIT: Final = "https://pypi.org/project/hpckit-eo/"
"""Identifier of the program."""

LANGUAGE: Final = "#campaign-file"
"""Identifier of the language of campaigns."""
BIOSCHEMAS: Final = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
"""Profile of the description of a workflow."""

Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class About:
    """What only a person knows of a crate."""

    agent: str = ""
    """Who ran the campaign: a name."""
    agent_id: str = ""
    """ORCID of the person, or address of the organisation."""
    license: str = ""
    """Address of the licence of the outputs."""


def programs(software: Software) -> Iterator[Entity]:
    """hpckit, and the packages that it needs."""
    needs = [(name, version) for name, version in {"Python": software.python, **software.packages}.items() if version]
    yield {
        "@id": HPCKIT,
        "@type": ["SoftwareApplication", "prov:SoftwareAgent"],
        "name": "hpckit",
        "url": HPCKIT,
        "softwareVersion": software.hpckit or __version__,
        **({"identifier": f"git:{software.commit}"} if software.commit else {}),
        "softwareRequirements": [{"@id": _address(name)} for name, _ in needs],
    }
    for name, version in needs:
        yield {
            "@id": _address(name),
            "@type": "SoftwareApplication",
            "name": name,
            "url": _address(name),
            "softwareVersion": version,
        }


def language(software: Software) -> Entity:
    """The language of campaign files, which hpckit executes."""
    return {
        "@id": LANGUAGE,
        "@type": "ComputerLanguage",
        "name": "hpckit campaign file",
        "identifier": {"@id": HPCKIT},
        "url": {"@id": HPCKIT},
        "version": software.hpckit or __version__,
    }


def _address(package: str) -> str:
    return "https://www.python.org/" if package == "Python" else f"https://pypi.org/project/{package}/"


def container(image: Image) -> Entity:
    """An image in which jobs ran."""
    known = {"sha256": image.sha256} if image.sha256 else {"description": "its digest is not known any more"}
    return {
        "@id": f"#image/{quote(image.name)}",
        "@type": "ContainerImage",
        "additionalType": {"@id": "https://w3id.org/ro/terms/workflow-run#SIFImage"},
        "name": image.name,
        **known,
    }


def people(about: About) -> Entity:
    """Who ran it; empty if nobody says."""
    if not (about.agent or about.agent_id):
        return {}
    kind = "Person" if not about.agent_id or "orcid.org" in about.agent_id else "Organization"
    identifier = about.agent_id or f"#agent/{quote(about.agent)}"
    return {"@id": identifier, "@type": [kind, "prov:Agent"], "name": about.agent or about.agent_id}


def licence(about: About) -> Entity:
    """Licence of the outputs."""
    if about.license:
        return {"@id": about.license, "@type": "CreativeWork", "name": about.license, "description": "of the outputs"}
    text = "The owner of the run has stated no licence; `hpckit crate --license` states one."
    return {"@id": "#licence", "@type": "CreativeWork", "name": "No licence stated", "description": text}


def usage(record: Record) -> Iterator[Entity]:
    """Resources, each with a unit of UN/CEFACT (codes of recommendation 20)."""
    yield _value("worker-seconds", "seconds of workers on units, failed ones too", round(record.worker_s, 1), "SEC")
    for place in record.places:
        if place.core_hours is not None:
            yield _value(f"{place.site}/core-hours", f"allocated on {place.site}", place.core_hours, "HUR")
        if place.max_rss is not None:
            yield _value(f"{place.site}/memory", f"largest of a task on {place.site}", place.max_rss, "AD")
    if record.energy.kwh is not None:
        yield _value("energy", record.energy.basis, round(record.energy.kwh, 6), "KWH")
    if record.energy.kg_co2 is not None:
        yield _value("emissions", f"CO2 equivalents; {record.energy.basis}", round(record.energy.kg_co2, 6), "KGM")


def _value(name: str, description: str, value: float, unit: str) -> Entity:
    return {
        "@id": f"#usage/{quote(name)}",
        "@type": "PropertyValue",
        "name": name,
        "description": description,
        "propertyID": f"hpckit:{name.rpartition('/')[2]}",
        "value": str(value),
        "unitCode": unit,
    }
