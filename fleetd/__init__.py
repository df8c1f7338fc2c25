"""fleetd keeps fleets of GPU machines at their target size, and says why.

The rooms, from the bottom up: ``model`` (values), ``planner`` and ``config`` (decisions, the file),
``cloud``, ``store`` and ``activity`` (adapters), ``engine`` and ``ops`` (the daemon), ``cli`` and
``wiring`` (the way in). ``docs/architecture.md`` draws them.
"""

__version__ = "0.1.0"
