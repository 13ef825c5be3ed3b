"""Errors and the reason codes that a skipped record carries.

Every error raised on purpose is a ``ValueError``. ``InputError`` ends a run (exit 2): the input or the options
are wrong. ``RecordError`` costs one record, which is listed with its reason, and the run goes on (exit 1).
"""

from __future__ import annotations

import errno

SYSTEM_REFUSALS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
"""Error numbers by which the system refuses what is right in itself: exit code 4 of both apps."""

REASONS: dict[str, str] = {
    # the reading
    "bad_table": "a table of this reading cannot be read as the format says",
    "no_gaze": "the reading has no gaze, or its gaze was discarded by the data set's authors",
    "empty_map": "no usable fixation, or next to no gaze mass inside the image",
    "zero_duration": "the fixations have a total duration of zero",
    "no_transcript": "the reading has no transcript to cut into sentences",
    "bad_id": "an id breaks the id rule",
    # the image file
    "missing_image": "no image file was found for this id",
    "unreadable": "the operating system would not open or read the file",
    "not_dicom": "the file is not DICOM (empty, text, or a wrong preamble)",
    "not_image": "the file is not an image in a format that is read",
    "truncated": "the file ends before its pixel data does",
    "bad_header": "the header contradicts itself or the standard",
    "too_large": "the header announces more pixels or bytes than the limit",
    "multi_frame": "more than one frame",
    "not_grey": "a colour image whose channels differ",
    "codec_mismatch": "the compressed stream's own size differs from Rows and Columns",
    "decode_failed": "the pixel decoder refused the data",
    "decoder_crash": "the pixel decoder ended its process",
    "decoder_timeout": "the pixel decoder did not finish in time",
    "padding": "more than 90 % of the pixels are padding",
    "flat_image": "every pixel has the same value",
    "size_mismatch": "the image size in the table differs from the image file's",
}
"""Reason code of a skipped record -> what it means."""

DROPPED: dict[str, str] = {
    "not_a_number": "text where a number belongs",
    "missing_time": "onset or offset is empty or not finite",
    "missing_position": "x or y is empty or not finite",
    "end_before_start": "the end is before the start",
    "bad_resolution": "pixels per degree are missing, not positive, or absurd",
    "bad_rectangle": "the shown rectangle is missing or has no area",
    "duplicate": "an exact repetition of a row before",
}
"""Why a row of a fixation table is dropped: code in `Reading.counts` to meaning, in the order of the checks."""


class GazekitError(ValueError):
    """Base of the errors gazekit raises on purpose."""


class InputError(GazekitError):
    """The input or the options are wrong: the run stops before anything is written."""


class CacheError(InputError):
    """A cache is damaged, of another format version, or of another fingerprint."""


class RecordError(GazekitError):
    """One record cannot be used.

    Parameters
    ----------
    reason : str
        A key of `REASONS`.
    message : str
        What was expected, what came, and what to do, without a header value or a name.
    """

    def __init__(self, reason: str, message: str) -> None:
        if reason not in REASONS:
            raise KeyError(f"unknown reason code {reason!r}")
        self.reason = reason
        super().__init__(message)

    def __reduce__(self) -> tuple[type[RecordError], tuple[str, str]]:
        # Two arguments, one stored in `args`: without this the error cannot cross a process boundary.
        return type(self), (self.reason, str(self))


class EmptyGazeError(RecordError):
    """No gaze mass inside the image: there is no map to make, and a uniform or NaN one would be a lie."""

    def __init__(self, reason: str = "empty_map", message: str = "no gaze inside the image") -> None:
        super().__init__(reason, message)
