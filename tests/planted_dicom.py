"""A DICOM file with something recognisable in every element that must stay in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from dicom_factory import _element, make_dicom
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.tag import Tag

SECRET = "ZZSECRETZZ"
DATE = "19420424"
DIGITS = "42424242"

NEEDLES = tuple(
    text.encode(encoding) for text in (SECRET, SECRET.lower(), DATE, DIGITS) for encoding in ("utf-8", "utf-16-le")
)
"""None of these may be in anything that leaves."""

_VALUES = {
    "AE": SECRET,
    "AS": "042Y",
    "CS": SECRET,
    "DA": DATE,
    "DS": f"{DIGITS}.5",
    "DT": f"{DATE}{DIGITS}",
    "IS": DIGITS,
    "LO": SECRET,
    "LT": SECRET,
    "PN": f"{SECRET}^JANE",
    "SH": SECRET,
    "ST": SECRET,
    "TM": "042424.424242",
    "UC": SECRET,
    "UI": f"1.2.99.{DIGITS}",
    "UR": f"http://{SECRET}",
    "UT": SECRET,
}
_LENGTHS = {"AT": 4, "FD": 8, "FL": 4, "SL": 4, "SS": 2, "SV": 8, "UL": 4, "US": 2, "UV": 8}
# the allow-list, written a second time: what a display needs, and the four coded facts
_ALLOWED = {
    int(Tag(keyword))
    for keyword in (
        *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration", "PhotometricInterpretation"),
        *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelIntensityRelationshipSign"),
        *("PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
        *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape"),
        *("PixelSpacing", "ImagerPixelSpacing", "BurnedInAnnotation"),
        *("Modality", "BodyPartExamined", "ViewPosition", "PatientOrientation"),
    )
}
_PIXELS = 0x7FE00000


def every_other_element() -> list[tuple[int, str, bytes]]:
    """Tag, value representation and value of all standard elements outside the allow-list, and of private ones."""
    elements = [
        (tag, vr, _value(vr))
        for tag, (vrs, *_) in sorted(DicomDictionary.items())
        if tag >> 16 > 2 and tag not in _ALLOWED and not _PIXELS <= tag < 0x7FE10000
        for vr in (vrs.split(" or ")[0],)
        if vr != "NONE"
    ]
    private = [
        (group << 16 | number, "LO", SECRET.encode())
        for group in (0x0009, 0x0019, 0x7FE1)
        for number in (0x0010, 0x1001, 0x10FF)
    ]
    overlays = [
        (group << 16 | number, vr, SECRET.encode())
        for group in (0x6000, 0x6002, 0x601E)
        for number, vr in ((0x0022, "LO"), (0x1500, "LO"), (0x3000, "OW"), (0x4000, "LT"))
    ]
    curves = [(0x50003000, "OW", SECRET.encode()), (0x50000022, "LO", SECRET.encode())]
    return sorted({element[0]: element for element in [*elements, *private, *overlays, *curves]}.values())


def _value(vr: str) -> bytes:
    if vr == "SQ":
        # two items in one another, of undefined length, with a name in each
        name = _element(Tag("PatientName"), "PN", _value("PN"), implicit=False, little=True)
        rows = _element(Tag("Rows"), "US", b"\x04\0", implicit=False, little=True)
        inner = b"\xfe\xff\x00\xe0" + len(name).to_bytes(4, "little") + name
        inner_sequence = _element(Tag("ReferencedImageSequence"), "SQ", inner, implicit=False, little=True)
        body = rows + name + inner_sequence
        return b"\xfe\xff\x00\xe0" + len(body).to_bytes(4, "little") + body
    if vr in _LENGTHS:
        return (DIGITS.encode() * 2)[: _LENGTHS[vr]]
    text = _VALUES.get(vr, SECRET).encode()
    return text + (b"\0" if vr == "UI" else b" ") * (len(text) % 2)


def planted_dicom(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    """`make_dicom` with every other element planted, the preamble and the file meta information too."""
    elements = every_other_element()
    before = b"".join(_element(*element, implicit=False, little=True) for element in elements if element[0] < _PIXELS)
    after = b"".join(_element(*element, implicit=False, little=True) for element in elements if element[0] > _PIXELS)
    raw = options.pop("raw", {})
    extra = options.pop("extra", b"")
    make_dicom(path, pixels, extra=before + extra, raw=raw, preamble=SECRET.encode().ljust(128, b"!"), **options)
    whole = path.read_bytes() + after
    meta = b"".join(
        _element(tag, vr, _value(vr), implicit=False, little=True)
        for tag, vr in ((0x00020003, "UI"), (0x00020013, "SH"), (0x00020016, "AE"), (0x00020102, "OB"))
    )
    path.write_bytes(whole[:132] + meta + whole[132:])
    return path


def lut_with_texts(count: int = 256) -> Dataset:
    """An item of a LUT sequence whose texts are planted."""
    item = Dataset()
    item.LUTDescriptor, item.LUTExplanation, item.ModalityLUTType = [count, 0, 8], SECRET, SECRET
    item.add_new("LUTData", "OW", bytes(range(256)))
    return item
