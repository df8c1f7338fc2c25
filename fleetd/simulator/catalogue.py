"""What the simulated vendor sells: regions, machine types with their prices, templates.

Machine types and regions are those of the vendor's page (create); specifications and prices are close to the
vendor's public lists, and P4000's are the ones in the page's examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

GIB = 1024**3
REGIONS = ("East Coast (NY2)", "West Coast (CA1)", "Europe (AMS1)")


@dataclass(frozen=True, slots=True)
class MachineType:
    """One entry of the price list."""

    label: str
    cpus: int
    ram_gib: float
    hourly: Decimal
    """Dollars an hour while it runs."""
    gpu: str | None = None
    gpus: int = 0
    gpu_memory_gib: int | None = None
    legacy: bool = True
    """Sold through the Core API; newer types exist only in v1."""
    dedicated_gpu: bool = False
    """Its availability can be asked for (the vendor's page, availability)."""

    @property
    def ram_bytes(self) -> int:
        """Memory in bytes."""
        return int(self.ram_gib * GIB)

    @property
    def cpu_only(self) -> bool:
        """One of C1 to C10, which Windows templates cannot be used with."""
        return self.gpu is None


@dataclass(frozen=True, slots=True)
class Template:
    """What a machine can be made from. ``team_id`` and ``region`` are set on an account's own templates only."""

    id: str
    label: str
    os: str
    agent_type: str
    created: str
    """As the vendor writes dates."""
    default_size_gb: int = 50
    team_id: str | None = None
    user_id: str | None = None
    region: str | None = None
    parent_machine_id: str | None = None

    @property
    def windows(self) -> bool:
        """Whether it is a Windows template."""
        return self.agent_type.startswith("Windows")


def _cpu(label: str, cpus: int, ram_gib: float, hourly: str) -> MachineType:
    return MachineType(label, cpus, ram_gib, Decimal(hourly))


def _grid(label: str, cpus: int, ram_gib: float, hourly: str, memory: float) -> MachineType:
    gpu = f"GRID K160Q ({memory:g}GB)"
    return MachineType(label, cpus, ram_gib, Decimal(hourly), gpu, 1, max(1, int(memory)))


def _gpu(
    label: str, cpus: int, ram_gib: float, hourly: str, gpu: str, memory: int, *, legacy: bool = False, gpus: int = 1
) -> MachineType:
    return MachineType(label, cpus, ram_gib, Decimal(hourly), gpu, gpus, memory, legacy, dedicated_gpu=legacy)


MACHINE_TYPES: Mapping[str, MachineType] = MappingProxyType(
    {
        kind.label: kind
        for kind in (
            _grid("Air", 4, 8, "0.07", 0.5),
            _grid("Standard", 4, 12, "0.10", 0.5),
            _grid("Pro", 4, 16, "0.20", 2),
            _grid("Advanced", 8, 16, "0.27", 4),
            _gpu("GPU+", 8, 30, "0.45", "Quadro M4000", 8, legacy=True),
            _gpu("P4000", 8, 30, "0.51", "Quadro P4000", 8, legacy=True),
            _gpu("P5000", 8, 30, "0.78", "Quadro P5000", 16, legacy=True),
            _gpu("P6000", 8, 30, "1.10", "Quadro P6000", 24, legacy=True),
            _gpu("V100", 8, 30, "2.30", "Tesla V100", 16, legacy=True),
            _cpu("C1", 1, 0.5, "0.01"),
            _cpu("C2", 1, 1, "0.02"),
            _cpu("C3", 2, 4, "0.04"),
            _cpu("C4", 2, 8, "0.06"),
            _cpu("C5", 4, 8, "0.08"),
            _cpu("C6", 8, 16, "0.16"),
            _cpu("C7", 12, 30, "0.30"),
            _cpu("C8", 16, 60, "0.60"),
            _cpu("C9", 24, 120, "0.90"),
            _cpu("C10", 32, 244, "1.60"),
            _gpu("RTX4000", 8, 30, "0.56", "Quadro RTX 4000", 8),
            _gpu("RTX5000", 8, 30, "0.82", "Quadro RTX 5000", 16),
            _gpu("A4000", 8, 45, "0.76", "RTX A4000", 16),
            _gpu("A4000x2", 16, 90, "1.52", "RTX A4000", 16, gpus=2),
            _gpu("A5000", 8, 45, "1.38", "RTX A5000", 24),
            _gpu("A6000", 8, 45, "1.89", "RTX A6000", 48),
            _gpu("A100", 12, 90, "3.09", "A100", 40),
            _gpu("A100-80G", 12, 90, "3.18", "A100", 80),
            _gpu("H100", 20, 250, "5.95", "H100", 80),
            # Sold on v1 beyond the Core API's list, as SkyPilot names them; the prices are the simulator's.
            _gpu("P4000x2", 16, 60, "1.02", "Quadro P4000", 8, gpus=2),
            _gpu("V100-32G", 8, 30, "2.30", "Tesla V100", 32),
            _gpu("V100-32Gx2", 16, 60, "4.60", "Tesla V100", 32, gpus=2),
            _gpu("V100-32Gx4", 32, 120, "9.20", "Tesla V100", 32, gpus=4),
            _gpu("A4000x4", 32, 180, "3.04", "RTX A4000", 16, gpus=4),
            _gpu("A100-80Gx8", 96, 720, "25.44", "A100", 80, gpus=8),
            _gpu("H100x8", 128, 1638, "47.60", "H100", 80, gpus=8),
        )
    }
)

_STORAGE = ((50, "5.00"), (100, "7.00"), (250, "10.00"), (500, "15.00"), (1000, "20.00"), (2000, "40.00"))


def storage_monthly(size_gb: int) -> Decimal:
    """Dollars a month for a disk of that size: the price of the smallest tier that holds it."""
    for tier, price in _STORAGE:
        if size_gb <= tier:
            return Decimal(price)
    return Decimal(_STORAGE[-1][1]) * -(-size_gb // _STORAGE[-1][0])


TEAM_ID = "tewr3st2z"
"""The account's team, as in the page's create example."""
OWNER_ID = "ubx9ce8k"
"""The user whose key is used, as in the page's setAccessForUser example."""

TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        template.id: template
        for template in (
            Template("tbu200wi", "Ubuntu 20.04", "Ubuntu 20.04.6 LTS", "LinuxHeadless", "2020-06-03T17:13:35.000Z"),
            Template("t0nspur5", "Ubuntu 22.04", "Ubuntu 22.04.4 LTS", "LinuxHeadless", "2022-08-11T09:02:11.000Z"),
            Template("tkni3aa4", "Ubuntu 20.04 Desktop", "", "LinuxDesktop", "2020-06-03T17:20:02.000Z"),
            Template(
                "twi10srv",
                "Windows 10",
                "Windows 10 (Server 2019)",
                "WindowsDesktop",
                "2019-03-12T08:41:06.801Z",
                default_size_gb=100,
            ),
            *(
                # The vendor's images for machine learning, by the ids that SkyPilot's provisioner asks for.
                Template(id_, label, f"{label[:12]}.4 LTS", "LinuxHeadless", "2023-11-02T10:12:44.000Z", 100)
                for id_, label in (
                    ("twnlo3zj", "Ubuntu 20.04 MLaiB"),
                    ("tilqt47t", "Ubuntu 22.04 MLaiB H100"),
                    ("t7vp562h", "Ubuntu 22.04 MLaiB H100x8"),
                    ("tqqsxr6b", "Ubuntu 22.04 MLaiB A100"),
                    ("tvimtol9", "Ubuntu 22.04 MLaiB A100x8"),
                )
            ),
            Template(
                "t4v9own7",
                "training image 7",
                "Ubuntu 22.04.4 LTS",
                "LinuxHeadless",
                "2023-02-06T18:46:44.882Z",
                default_size_gb=100,
                team_id=TEAM_ID,
                region="East Coast (NY2)",
                parent_machine_id="psparent1",
            ),
        )
    }
)
