"""Network: what joins this node's containers to the world, and which address each of them has."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from squall.agent.addresses import Addresses
from squall.model.errors import ContainerStartError
from squall.runtime import spec as sandbox
from squall.runtime.host import LANDLOCK_SCOPES, Host
from squall.runtime.instance import instance_of
from squall.runtime.network import firewall, nft
from squall.runtime.network.carrier import RESOLVER
from squall.runtime.network.firewall_plan import (
    ALWAYS_DENIED,
    address_at,
    gateway_of,
    number_of,
    room_in,
)
from squall.runtime.network.routes import own_addresses
from squall.settings.paths import StatePaths

_log = logging.getLogger("squall.agent")
_RESOLVERS = "/etc/resolv.conf"
# Levels whose containers are not joined: one has the host's network as it is, one a kernel that our routes do not bind.
_ALONE = frozenset({"process", "gvisor"})
_NOTICE = 64 * 1024


class Network:
    """One node's network. denied: networks that containers reach as little as metadata services."""

    def __init__(
        self, paths: StatePaths, host: Host, *, chosen: str = "", denied: tuple[str, ...] = ()
    ) -> None:
        self._host = host
        self._instance = instance_of(str(paths.state))
        self._run = paths.run
        self._record = str(paths.network_record)
        self._chosen = chosen
        self._denied = denied
        self._best: sandbox.Network = host.network
        self._standing: firewall.Standing | None = None
        self._watching: socket.socket | None = None
        self._addresses = Addresses()
        self._swept = asyncio.Event()
        self._starting = asyncio.get_running_loop().create_task(self._start())

    async def ready(self) -> sandbox.Network:
        """What containers get here, once the firewall is up."""
        await asyncio.shield(self._starting)
        return self._best

    async def _start(self) -> None:
        if self._best != "veth":
            return
        try:
            self._standing = await asyncio.to_thread(
                firewall.put_up, self._instance, self._record, network=self._chosen, denied=self._denied
            )
        except (OSError, ValueError) as problem:
            _log.warning("containers get no network of their own: %s", problem)
            self._best = "host" if self._host.landlock_abi >= LANDLOCK_SCOPES else "none"
            return
        try:
            self._watching = nft.watch()
        except OSError as problem:
            _log.warning("nobody tells us if the rules are taken away: %s", problem)
        else:
            asyncio.get_running_loop().add_reader(self._watching, self._look_at_rules)

    def _look_at_rules(self) -> None:
        """Others change rules too, and some begin by throwing everything away: containers would reach each other."""
        if self._watching is None or self._standing is None:
            return
        with suppress(OSError):
            while self._watching.recv(_NOTICE):
                pass
        try:
            if firewall.stand_again(self._standing):
                _log.warning("somebody took the rules of our containers away: they are back")
        except OSError:
            _log.exception("the rules of our containers could not be put back")

    async def join(self, spec: sandbox.SandboxSpec, *, blocked: bool) -> sandbox.SandboxSpec:
        """`spec` with the best network that its level may have here; loopback only where it is blocked."""
        if blocked or spec.level in _ALONE:
            return spec
        match await self.ready():
            case "veth":
                await self._swept.wait()
                return self._with_veth(spec, self._veth_for(spec.id))
            case "host" if spec.level == "sandbox":
                return replace(spec, network="host")
            case "host" | "none":
                return spec
            case carrier:
                hidden = [one for one in ALWAYS_DENIED if not one.startswith(("0.", "127.", "224."))]
                own = [f"{one}/32" for one in own_addresses()]
                return replace(
                    spec,
                    network=carrier,
                    unreachable=(*hidden, *own, *self._denied),
                    mounts=tuple(_asks(mount, self._of_carriers()) for mount in spec.mounts),
                )

    def _of_carriers(self) -> str:
        """The list of name servers of a container that a carrier joins, made once."""
        path = self._run / "resolv.conf"
        if not path.exists():
            path.write_text(f"nameserver {RESOLVER}\n")
        return str(path)

    async def give(self, name: str, launcher: str) -> sandbox.Veth:
        """How a sandbox that a launcher makes ahead is joined, until it is released.

        Waits until all that an earlier agent gave away is known, and what nobody has is gone. Raises ContainerStartError
        where there is nothing to give.
        """
        await self.ready()
        await self._swept.wait()
        return self._veth_for(name, launcher)

    def adopt(self, launcher: str, addresses: Mapping[str, str]) -> None:
        """What an earlier agent gave away is had still, by containers and sandboxes of this launcher."""
        network = None if self._standing is None else self._standing.rules.network
        for holder, address in addresses.items():
            if network is None:
                continue
            try:
                self._addresses.adopt(holder, number_of(network, address), launcher=launcher)
            except ValueError:
                _log.warning("%s has %s, which is none of ours", holder, address)

    def started(self, container: str, address: str | None) -> None:
        """A container runs with this address: if that is its sandbox's, the one that was meant for it is free."""
        number, standing = self._addresses.number_of(container), self._standing
        if number is not None and standing and address != address_at(standing.rules.network, number):
            self.release(container)

    def release(self, holder: str) -> None:
        """A container or a sandbox has ended: its address is free."""
        self._addresses.release(holder)

    def lost(self, launcher: str) -> None:
        """A launcher is gone, and every sandbox that it had."""
        self._addresses.lost(launcher)

    async def sweep(self) -> None:
        """Removes devices that no container has, which an earlier agent left; once all that live are adopted.

        Nobody is given an address before: it may be one whose device is still there.
        """
        await self.ready()
        try:
            if self._standing is not None:
                there = firewall.devices_of(self._instance)
                kept = {firewall.device_of(self._instance, number) for number in self._addresses.all()}
                await asyncio.to_thread(
                    firewall.remove_devices, tuple(name for name in there if name not in kept)
                )
        except OSError:
            _log.exception("devices of containers that are gone stay")
        finally:
            self._swept.set()

    async def take_down(self) -> None:
        """Leaves the host as it was."""
        if self._watching is not None:
            asyncio.get_running_loop().remove_reader(self._watching)
            self._watching.close()
            self._watching = None
        if self._standing is not None:
            try:
                await asyncio.to_thread(firewall.take_down, self._instance, self._record)
            except OSError:
                _log.exception("the firewall stays")

    def _with_veth(self, spec: sandbox.SandboxSpec, veth: sandbox.Veth) -> sandbox.SandboxSpec:
        assert self._standing is not None
        resolvers = self._standing.resolvers.path
        return replace(
            spec, network="veth", veth=veth, mounts=tuple(_asks(mount, resolvers) for mount in spec.mounts)
        )

    def _veth_for(self, holder: str, launcher: str = "") -> sandbox.Veth:
        standing = self._standing
        if standing is None:
            raise ContainerStartError("the rules that containers are joined by do not stand on this machine")
        network = standing.rules.network
        number = self._addresses.give(holder, room_in(network), launcher=launcher)
        if number is None:
            raise ContainerStartError(f"every address of the containers' network {network} is taken")
        return sandbox.Veth(
            name=firewall.device_of(self._instance, number),
            address=address_at(network, number),
            gateway=gateway_of(network),
            mtu=standing.mtu,
        )


def _asks(mount: sandbox.Mount, resolvers: str) -> sandbox.Mount:
    """The list of name servers that a container sees: what the host's own loopback answers is not there for it."""
    if mount.target != _RESOLVERS or not resolvers or resolvers == _RESOLVERS:
        return mount
    return replace(mount, source=resolvers)
