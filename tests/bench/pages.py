"""What the page costs at 2,000 machines: a rendering, from the engine's report to packed bytes, and a viewer more."""

from __future__ import annotations

from aiohttp.test_utils import make_mocked_request

from fleetd.engine.status import status_report
from fleetd.model.report import DaemonReport
from fleetd.ops.page.home import home
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.serving import Rendered, answer
from tests.bench.goals import Figure
from tests.bench.turns import Times, seconds
from tests.support.build import NOW, fleet, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.rig import rig
from tests.support.virtual_time import run_virtual, virtual_clock

MACHINES, FLEETS = 2000, 4
VIEWERS = 100


def figures(turns: int = 7) -> list[Figure]:
    """Both rows."""
    passes = []

    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        names = [f"fleet-{n}" for n in range(FLEETS)]
        for n in range(MACHINES):
            cloud.add(token_name(n, names[n % FLEETS]), machine_type="P4000")
        wanted = [fleet(name, target=MACHINES // FLEETS) for name in names]
        async with rig(*wanted, cloud=cloud) as world, world.passes_by_hand():
            passes.append(await world.reconciler.run_pass())

    run_virtual(story)
    daemon = DaemonReport(running=True, provider="ok")

    def render() -> Rendered:
        shown = status_report(passes[0], daemon=daemon)
        rendered = Rendered(1, 0.0, home(Scene(shown, NOW)).encode())
        assert rendered.packed
        return rendered

    rendered = render()
    request = make_mocked_request("GET", "/", headers={"Accept-Encoding": "gzip"})

    def view() -> None:
        for _ in range(VIEWERS):
            assert answer(request, rendered).status == 200

    rendering = Times([seconds(render) for _ in range(turns)])
    viewing = Times([seconds(view) / VIEWERS for _ in range(turns)])
    return [
        Figure("page", "", rendering.median, rendering.words),
        Figure("viewer", "", viewing.median, viewing.words),
    ]
