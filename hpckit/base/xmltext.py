"""XML of products, which may come from anywhere: no entities, no network, and no more memory than real ones need."""

from __future__ import annotations

from typing import Any, Final

from lxml import etree

from hpckit.errors import SceneError

MOST_BYTES: Final = 16 * 2**20
"""Real metadata files have up to two mebibytes."""
_MOST_MARKS: Final = 500_000
"""Of tags, and of attributes; real files have up to 14,000. Each takes some 150 bytes of memory, however short."""


def parse_xml(name: str, data: bytes) -> Any:
    """Root element of an XML file.

    Parameters
    ----------
    name : str
        What the file is called in messages.
    data : bytes
        Its content.

    Raises
    ------
    SceneError
        If it is cut or no XML, or larger or of more parts than metadata have, or defines entities.
    """
    if len(data) > MOST_BYTES or data.count(b"<") > _MOST_MARKS or data.count(b"=") > _MOST_MARKS:
        raise SceneError(f"{name} is refused: no metadata are that large ({len(data)} bytes)")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise SceneError(f"{name} is refused: it defines entities, which no metadata of products do")
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        huge_tree=False,
        load_dtd=False,
        # As counted above: another encoding, which the file may declare, would hide its tags.
        encoding="utf-8" if _is_utf8(data) else "iso-8859-1",
    )
    try:
        return etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise SceneError(f"{name} is no complete XML: {error}") from None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
