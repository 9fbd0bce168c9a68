"""XML ECGs: which dialect, parsed without entities, external files or expansion.

An entity can only be declared in the document type before the root element. The document is refused
at the first such declaration, before anything is expanded; external documents are never fetched.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from medfm.core.errors import ReadError
from medfm.io.ecg.raw import Options, RawECG, read_bytes


class _RootReachedError(Exception):
    """Ends the look at the document type."""


def read_xml(path: Path, options: Options, where: str) -> RawECG:
    """Read HL7 aECG, GE MUSE or Philips XML.

    Raises:
        ReadError: Malformed XML, entity declarations, or another dialect.
    """
    root = parse_xml(read_bytes(path, where), where)
    kind = root.tag.lower()
    if kind == "annotatedecg":
        from medfm.io.ecg.aecg import read_aecg

        return read_aecg(root, where)
    if kind == "restingecg":
        from medfm.io.ecg.muse import read_muse

        return read_muse(root, where)
    if kind in ("restingecgdata", "philipsecg"):
        from medfm.io.ecg.philips import read_philips

        return read_philips(root, where)
    raise ReadError(
        "The XML file is no ECG of a kind medfm reads.",
        where=where,
        expected="HL7 aECG (AnnotatedECG), GE MUSE (RestingECG) or Philips (restingecgdata)",
        fix="export the recording as DICOM or HL7 aECG",
    )


def parse_xml(data: bytes, where: str) -> ElementTree.Element:
    """The root element of `data`, namespaces cut off all names.

    Raises:
        ReadError: Malformed XML, or any entity declared in it.
    """
    _refuse_entities(data, where)
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise _malformed(where) from error
    for element in root.iter():
        if isinstance(element.tag, str) and "}" in element.tag:
            element.tag = element.tag.rpartition("}")[2]
    return root


def text_of(element: ElementTree.Element | None, name: str) -> str:
    """Text of the child `name`, stripped; empty where there is none."""
    return "" if element is None else (element.findtext(name) or "").strip()


def _refuse_entities(data: bytes, where: str) -> None:
    parser = expat.ParserCreate()

    def entity(*_: object) -> int:
        raise ReadError(
            "The XML file declares entities, which no ECG needs and which can exhaust memory or fetch files.",
            where=where,
            expected="XML without entity declarations",
        )

    def start(*_: object) -> None:
        raise _RootReachedError

    parser.EntityDeclHandler = entity
    parser.ExternalEntityRefHandler = entity
    parser.StartElementHandler = start
    try:
        parser.Parse(data, True)
    except _RootReachedError:
        return
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise _malformed(where) from error


def _malformed(where: str) -> ReadError:
    return ReadError("The XML is malformed or cut off.", where=where, fix="copy or export the file again")
