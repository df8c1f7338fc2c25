"""What an account has besides machines: users, private networks, startup scripts."""

from __future__ import annotations

from collections.abc import Callable

from fleetd.simulator.catalogue import REGIONS
from fleetd.simulator.records import NetworkRecord, Refusal, ScriptRecord, UserRecord
from fleetd.simulator.state import WorldState


class Account:
    """The account behind the key.

    Args:
        state: the world's memory.
        advance: brings the world up to date and returns its time.
    """

    def __init__(self, state: WorldState, advance: Callable[[], float]) -> None:
        self._state = state
        self._advance = advance

    def add_user(self, email: str, first_name: str, last_name: str) -> UserRecord:
        """A new member of the team.

        Raises:
            Refusal: the address is taken.
        """
        if any(user.email == email for user in self._state.users.values()):
            raise Refusal("A user with this email already exists", subject="email")
        user = UserRecord(self._state.new_id("u"), email, first_name, last_name, self._now(), self._state.team_id)
        self._state.users[user.id] = user
        return user

    def add_network(self, name: str, region: str) -> NetworkRecord:
        """A new private network.

        Raises:
            Refusal: no such region, or the name is taken.
        """
        if region not in REGIONS:
            raise Refusal("region not found", subject="region", missing=True)
        if any(network.name == name for network in self._state.networks.values()):
            raise Refusal("A private network with this name already exists", subject="name")
        prefix = f"10.64.{len(self._state.networks) + 1}.0"
        id_ = self._state.new_id("n", 6)
        network = NetworkRecord(id_, name, region, prefix, "255.255.0.0", self._now(), self._state.team_id)
        self._state.networks[id_] = network
        return network

    def add_script(self, name: str, script: str, *, run_once: bool) -> ScriptRecord:
        """A new startup script."""
        id_ = self._state.new_id("sc")
        record = ScriptRecord(id_, name, "", self._now(), self._state.owner_id, run_once=run_once, text=script)
        self._state.scripts[id_] = record
        return record

    def drop_network(self, network_id: str) -> NetworkRecord:
        """Delete a private network.

        Raises:
            Refusal: no such network, or a machine is in it.
        """
        network = self.network(network_id)
        if any(record.network_id == network_id and record.gone is None for record in self._state.machines.values()):
            raise Refusal("This private network is in use by a machine.", subject="state")
        del self._state.networks[network_id]
        return network

    def network(self, network_id: str) -> NetworkRecord:
        """A private network.

        Raises:
            Refusal: there is none.
        """
        found = self._state.networks.get(network_id)
        if found is None:
            raise Refusal("Private network not found", subject="network", missing=True)
        return found

    def script(self, script_id: str) -> ScriptRecord:
        """A startup script.

        Raises:
            Refusal: there is none.
        """
        found = self._state.scripts.get(script_id)
        if found is None:
            raise Refusal("Startup script not found", subject="script", missing=True)
        return found

    def drop_script(self, script_id: str) -> ScriptRecord:
        """Delete a startup script; machines that ran it run none any more.

        Raises:
            Refusal: there is none.
        """
        script = self.script(script_id)
        del self._state.scripts[script_id]
        for record in self._state.machines.values():
            if record.script_id == script_id:
                record.script_id = None
        return script

    def _now(self) -> str:
        return self._state.clock.text(self._advance()) or ""
