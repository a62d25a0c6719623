"""What a dry run answers with: the jobs as they would be sent, each read when it is looked at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from mizzen._core import Preview

__all__ = ["PlannedJobs"]


class PlannedJobs(Sequence[dict[str, Any]]):
    """The jobs of a plan, in their order; all of them could be sent.

    Attributes:
        title: the experiment's title.
        fingerprint: the plan's hash: equal plans have equal fingerprints.
    """

    def __init__(self, preview: Preview) -> None:
        self._preview = preview
        self.title = preview.title
        self.fingerprint = preview.fingerprint

    def __len__(self) -> int:
        return len(self._preview)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        job: dict[str, Any] = json.loads(self._preview.job(number))
        return job

    def __repr__(self) -> str:
        return f"<{len(self)} planned jobs of {self.title}>"
