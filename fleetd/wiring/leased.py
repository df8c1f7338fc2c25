"""The handle of a daemon that is one of several replicas: its status says who acts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from fleetd.engine.handle import EngineHandle
from fleetd.model.report import LeaseReport, Report


class LeasedHandle(EngineHandle):
    """An ``EngineHandle`` that knows of the lease; ``lease``: who has it and how, None without ``daemon.state``."""

    def __init__(self, *arguments: Any, lease: Callable[[], LeaseReport | None], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._lease = lease

    def status(self) -> Report:
        """See ``DaemonHandle.status``."""
        report, lease = super().status(), self._lease()
        return report if lease is None else replace(report, daemon=replace(report.daemon, lease=lease))
