"""Checkpoints written by a thread while training goes on."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from vpmim.checkpoint import save_checkpoint


class CheckpointWriter:
    """A context in which `save` returns once the state is copied; the files are written behind its back.

    At most one checkpoint is under way: the next `save` waits for it, and so does the end of the context, an
    exception or not. A process killed meanwhile leaves the checkpoint before, whole (`save_checkpoint`).

    Parameters
    ----------
    run : the RUN folder
    keep : complete checkpoints left after each
    """

    def __init__(self, run: Path, *, keep: int) -> None:
        self._run, self._keep = run, keep
        self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="vpmim-checkpoint")
        self._under_way: concurrent.futures.Future[Path] | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if error is None:
            self.wait()

    def save(
        self,
        step: int,
        *,
        model: Mapping[str, Tensor],
        optimizer: Mapping[str, Any],
        state: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ) -> None:
        """Copy the state to the host and start to write it; arguments as for `save_checkpoint`.

        Raises
        ------
        OSError
            The checkpoint before could not be written.
        """
        self.wait()
        self._under_way = self._thread.submit(
            save_checkpoint,
            self._run,
            step,
            model=_on_host(model),
            optimizer=_on_host(optimizer),
            state=state,
            metadata=metadata,
            keep=self._keep,
        )

    def check(self) -> None:
        """Raise the error of a write that has ended with one; does not wait."""
        if self._under_way is not None and self._under_way.done():
            self.wait()

    def wait(self) -> None:
        """Wait until nothing is under way, and raise what went wrong."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()


def _on_host(value: Any) -> Any:
    """A copy on the CPU that the next steps leave as it is; every tensor in dicts and lists is copied."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _on_host(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_on_host(item) for item in value]
    return value
