"""fleetd keeps fleets of GPU machines at their target size, and says why.

The rooms, from the bottom up: ``model`` (values), ``planner`` and ``config`` (decisions, the file),
``cloud``, ``store`` and ``activity`` (adapters), ``words`` (sentences), ``engine`` and ``ops`` (the daemon),
``wiring`` and ``cli`` (the way in); beside them ``simulator``. ``docs/architecture.md`` draws them.
"""

__version__ = "0.1.0"
