"""Files of an eye tracker to readings of images, whatever the maker.

A tracker's module says how one file becomes a `Recording`; here the files are listed, the image of each trial is named,
and the index is made. Each file is parsed once to know its trials, and again, once a process, when they are loaded.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from gazekit.errors import InputError, RecordError
from gazekit.geometry import Screen
from gazekit.ids import is_id
from gazekit.reading import Entry, Readings
from gazekit.sources.parsed_files import ParsedFiles
from gazekit.sources.paths import check_case, is_safe_path
from gazekit.sources.recording import Recording, Trial
from gazekit.sources.recording_reading import Place, RecordingSource, check_screen, load_trial
from gazekit.sources.spec import Spec, Stimulus, merged_screen, read_spec
from gazekit.sources.trial_units import check_trial_units

_PLACED = {"fit": "fill the screen with their aspect kept", "centre": "be centred", "stretch": "cover the screen"}


def read_recordings(
    root: str | Path,
    *,
    dataset: str,
    parse: Callable[[Path], Recording],
    suffixes: Sequence[str],
    companions: Sequence[str] = (),
    called: Callable[[str], str | None] | None = None,
    images: str | Path | None = None,
    spec: str | Path | Spec | None = None,
    screen: Screen | None = None,
) -> Readings:
    """Open the files of an eye tracker.

    Parameters
    ----------
    root : path
        A file, or a folder that is searched at any depth. Hidden files and folders are ignored.
    dataset : str
        Name of the source.
    parse : callable
        Path of a file to its `Recording`; picklable. Raises `RecordError` (``bad_table``) for a file that cannot be
        read, which costs that file, or `InputError`, which ends everything.
    suffixes : sequence of str
        Ends of the names of the files to parse, in lower case; the names may have any case. Of two files whose names
        differ in this alone, the one with the earlier end is parsed.
    companions : sequence of str
        Ends of the names of other files that `parse` reads, beside the file or in a folder above it: they count for
        the digest.
    called : callable, optional
        Path of a file under `root`, with slashes, to what its readings are called, None for one that is not parsed.
        Default: the path without its suffix.
    images : path, optional
        Where the images lie. Without it the image of every trial is the screen itself.
    spec : path or Spec, optional
        See `gazekit.sources.spec`.
    screen : Screen, optional
        Counts in place of the spec's ``[screen]``.

    Returns
    -------
    Readings
        One a trial. The reading id is the path of the file under `root` without its suffix, slashes turned into dots
        and spaces into hyphens, and, where the trials of a file have names, ``.<trial>``. The image is that of the
        ``[[stimulus]]`` of the trial's stimulus, or else the one called as the stimulus without the suffix of a
        picture. A file that names no stimulus is taken to be called as its image, whatever its folder; a
        ``[[stimulus]]`` may have the reading's id for its name.

    Raises
    ------
    InputError
        No such file or folder, none to parse, or none that can be parsed; a name that cannot be an id; a wrong spec;
        a screen that is needed and not known, or contradicts the file; units that contradict the data.
    """
    folder, files, others = _files(Path(root), suffixes, companions, called)
    spec = read_spec(spec)
    if dataset != "table" and (spec.columns or spec.units != Spec().units or spec.lost != Spec().lost):
        raise InputError(f"[columns], [units] and [lost] are for --dataset table: {dataset} files say that themselves")
    if images is not None and not Path(images).is_dir():
        raise InputError(f"the image root {images} is not a directory")
    index = _Index()
    source = RecordingSource(
        dataset=dataset,
        root=folder,
        images=None if images is None else Path(images),
        spec=spec,
        screen=merged_screen(spec.screen, screen),
        parsed=ParsedFiles(parse),
        places=index.places,
    )
    for file, name in files.items():
        try:
            recording = source.parsed(folder / file)
        except RecordError as error:
            refusal = (error.reason, str(error))
            index.entries.append(Entry(image_id=name, image_path=name, reading_id=name, refused=refusal))
        else:
            _enter(recording, file, name, source, index)
    if not index.places:
        raise _nothing(folder, index)
    check_case(index.places, str(folder))
    check_case(sorted({place.stimulus.image_id for place in index.places.values()}), str(folder))
    return Readings(
        dataset,
        index.entries,
        partial(load_trial, source=source),
        digest=partial(_digest, folder, (*suffixes, *companions), tuple(files), source),
        notes=_notes(source, index, others),
    )


@dataclass
class _Index:
    """What is known of the readings so far.

    `places` is by reading id; `ignored` counts the trials of stimuli that the spec leaves out; `assumed` are stimuli of
    which nothing says where they were drawn.
    """

    entries: list[Entry] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    assumed: set[str] = field(default_factory=set)


def _enter(recording: Recording, file: str, name: str, source: RecordingSource, index: _Index) -> None:
    """Check the trials of a file, whose readings' ids begin with `name`, and put them into the index."""
    stimuli = source.spec.stimuli
    first = True
    for trial in recording.trials:
        # each character of the path has one in the name, which ends as the file is called
        own = name if name in source.spec.stimulus else name[file.rfind("/") + 1 :]
        shown = own if trial.stimulus is None else trial.stimulus
        if stimuli.ignores(shown):
            index.ignored[shown] += 1
            continue
        stimulus = source.spec.stimulus.get(shown) or _stimulus_called(shown, file)
        check_screen(trial, recording, stimulus, source, file)
        check_trial_units(trial, file)
        if (stimulus.rectangle or trial.drawn or trial.anchor) is None and trial.units.startswith("screen"):
            index.assumed.add(shown)
        place = Place(file, trial.name, stimulus, first)
        first = False
        entry = _entry(name, trial, place)
        if entry.reading_id in index.places:
            raise InputError(f"{file}: two readings would have the id {entry.reading_id}; rename a file or a trial")
        index.places[str(entry.reading_id)] = place
        index.entries.append(entry)


def _files(
    root: Path, suffixes: Sequence[str], companions: Sequence[str], called: Callable[[str], str | None] | None
) -> tuple[Path, dict[str, str], Counter[str]]:
    """The folder, each file to parse under it with the id of its readings, and how many others of each suffix."""
    if root.is_file():
        folder, paths = root.parent, [root.name]
    elif root.is_dir():
        folder, paths = root, sorted(_walk(root))
    else:
        raise InputError(f"{root}: no such file or folder")
    files, second = _preferred(paths, suffixes, called)
    known = {*files, *second, *(path for path in paths if _suffix(path, companions))}
    others = Counter(PurePosixPath(path).suffix or "no suffix" for path in paths if path not in known)
    if not files:
        held = ", ".join(f"{n} of {suffix}" for suffix, n in others.most_common(5)) or "no file"
        raise InputError(f"{root}: expected files that end in {', '.join(suffixes)}; it holds {held}")
    for path, name in files.items():
        if not (is_safe_path(path.replace(" ", "-")) and is_id(name)):
            raise InputError(
                f"{root}: the name {path!r} cannot be an id: expected A-Z a-z 0-9 . _ - or a space, at most 128 "
                "characters, folders included; rename it"
            )
    return folder, files, others


def _preferred(
    paths: Sequence[str], suffixes: Sequence[str], called: Callable[[str], str | None] | None
) -> tuple[dict[str, str], set[str]]:
    """Each file to parse with the id of its readings, and those left out for one of an earlier suffix."""
    ends = {path: suffix for path in paths if (suffix := _suffix(path, suffixes)) is not None}
    best: dict[str, str] = {}
    for path in sorted(ends, key=lambda path: (suffixes.index(ends[path]), path)):
        own = path[: -len(ends[path])] if called is None else called(path)
        if own is None:
            continue
        name = own.replace("/", ".").replace(" ", "-")
        first = best.setdefault(name, path)
        if first != path and (ends[first] == ends[path] or first[: -len(ends[first])] != path[: -len(ends[path])]):
            raise InputError(f"{first} and {path} would have the same id {name}; rename one")
    return {path: name for name, path in sorted(best.items())}, ends.keys() - best.values()


def _walk(folder: Path) -> Iterator[str]:
    """Files under a folder, relative to it, hidden ones left out."""

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield (Path(place) / name).relative_to(folder).as_posix()


def _suffix(path: str, suffixes: Sequence[str]) -> str | None:
    return next((suffix for suffix in suffixes if path.lower().endswith(suffix)), None)


def _stimulus_called(name: str, file: str) -> Stimulus:
    """What a stimulus without a ``[[stimulus]]`` means: an image of its name."""
    if not is_safe_path(name):
        raise InputError(
            f"{file}: the stimulus {name[:60]!r} is no safe path of an image; say which image it is "
            "under [[stimulus]] of --spec, or name it under [stimuli] ignore"
        )
    return Stimulus(name=name)


def _entry(name: str, trial: Trial, place: Place) -> Entry:
    reading_id = f"{name}.{trial.name}" if trial.name else name
    if not is_id(reading_id):
        raise InputError(
            f"{place.file}: the trial {trial.name[:60]!r} cannot be part of an id: expected A-Z a-z 0-9 . _ -, and at "
            "most 128 characters with the name of the file"
        )
    stimulus = place.stimulus
    return Entry(
        image_id=stimulus.image_id,
        image_path=stimulus.image,
        reading_id=reading_id,
        patient_id=stimulus.patient_id,
        split=stimulus.split,
        view=stimulus.view,
    )


def _nothing(folder: Path, index: _Index) -> InputError:
    """Why no reading is left: an import without any is an error, never an empty success."""
    refused = [entry.refused[1] for entry in index.entries if entry.refused is not None]
    if refused:
        return InputError(f"none of {len(refused)} files can be read; the first: {refused[0]}")
    if index.ignored:
        return InputError(f"{folder}: every trial shows a stimulus that [stimuli] ignore names")
    return InputError(f"{folder}: the files hold no trial")


def _notes(source: RecordingSource, index: _Index, others: Mapping[str, int]) -> list[str]:
    notes = []
    if index.ignored:
        trials = ", ".join(f"{n} of {name}" for name, n in sorted(index.ignored.items()))
        notes.append(f"trials left out, as [stimuli] ignore says: {trials}")
    if others:
        held = ", ".join(f"{n} {suffix}" for suffix, n in sorted(others.items()))
        notes.append(f"files of other kinds are left out: {held}")
    shown = {place.stimulus.name for place in source.places.values()}
    if unseen := sorted(set(source.spec.stimulus) - shown):
        notes.append(f"[[stimulus]] that no trial shows: {', '.join(unseen[:5])}{', ...' if len(unseen) > 5 else ''}")
    if source.images is None:
        notes.append("no images are given: positions are those on the screen")
    elif index.assumed:
        placement = source.spec.stimuli.placement
        notes.append(
            f"nothing says where {len(index.assumed)} of the stimuli were drawn: taken to {_PLACED[placement]}; say it "
            "by rectangle under [[stimulus]], or by [stimuli] placement"
        )
    return notes


def _digest(folder: Path, suffixes: Sequence[str], files: Sequence[str], source: RecordingSource) -> str:
    """Sha256 over the bytes of the files, of those beside them, the spec and the screen."""
    sha256 = hashlib.sha256(f"{source.spec.digest()} {source.screen}\n".encode())
    folders = {folder / place for file in files for place in PurePosixPath(file).parents}
    beside = (path for place in folders for path in place.iterdir() if path.is_file())
    wanted = {*files, *(p.relative_to(folder).as_posix() for p in beside if _suffix(p.name, suffixes))}
    for file in sorted(wanted):
        if not (folder / file).is_file():  # a link to nothing, which is a refused entry
            continue
        with (folder / file).open("rb") as stream:
            sha256.update(f"{file} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return sha256.hexdigest()
