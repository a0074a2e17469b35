"""State store: the durable record of apps, calls, outcomes, containers, layers, names of images, Dicts and Queues, volumes, and of who may come in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from squall.model.call import CallState
from squall.model.ids import AppId, CallId, FunctionId, NodeId, TokenId
from squall.state.deploy_store import DeployStore
from squall.state.records import (
    AppRecord,
    BusyRecord,
    CallRecord,
    ContainerRecord,
    DeadLetter,
    FunctionRecord,
    History,
    InputChunk,
    LayerRecord,
    Naming,
    NodeRecord,
    OpenCall,
    OutcomeRecord,
    Swept,
    TokenRecord,
    Usage,
)
from squall.state.sharing.store import SharingStore
from squall.state.volumes.store import VolumeStore


class StateStore(DeployStore, SharingStore, VolumeStore, Protocol):
    """What outlives the server. What was awaited is on record, whole; what failed is not, not even in part.

    Every write may be sent again: the second time changes nothing. A writer that is cancelled may or may not have
    written. Raises DiskFull, StateDirectoryReadOnly, StateCorrupt, StateDirectoryError, StoreClosed.
    """

    async def record_app(self, app: AppRecord, functions: Sequence[FunctionRecord] = ()) -> None:
        """Records an app with its functions; what is on record under these ids is replaced."""
        ...

    async def end_app(self, app: AppId, *, at_s: float) -> bool:
        """Records that an app was stopped; whether it was running."""
        ...

    async def apps(self, *, ended: bool = False) -> tuple[AppRecord, ...]:
        """The running apps, oldest first; with `ended` also those that were stopped."""
        ...

    async def functions(self, app: AppId) -> tuple[FunctionRecord, ...]:
        """The functions of an app, by name."""
        ...

    async def record_call(self, call: CallRecord, chunks: Sequence[InputChunk] = ()) -> None:
        """Records a durable call and inputs of it: on disk when this returns.

        Sent again it changes nothing: inputs that are on record stay as they are, in whatever chunks they come. More
        inputs may come with the same record; `inputs` may come with any of them, the last. A call whose inputs all
        have outcomes has ended, and one that has ended takes no more inputs. Raises CallConflict where the id is
        another call's, or inputs lie beyond `inputs`; ValueError for a verb that is not durable.
        """
        ...

    async def record_outcomes(self, call: CallId, items: Sequence[OutcomeRecord]) -> tuple[int, ...]:
        """Records outcomes, on disk when this returns; the indexes of those that count.

        The first one of an input counts. Later ones, those of inputs that are not on record, those of attempts before a
        replay, and all those of a call that has ended or is unknown are dropped. The last missing one ends the call.
        """
        ...

    async def dead_letters(
        self, *, call: CallId | None = None, name: str | None = None, start: int = 0, limit: int = 100
    ) -> tuple[DeadLetter, ...]:
        """Inputs that ended without a result and were not cancelled: those of the newest call first, ascending in each.

        call: of this one only, from the input `start` on. name: of functions of this name, in whatever app.
        """
        ...

    async def replay(self, call: CallId, *, indexes: Collection[int] | None = None) -> tuple[int, ...]:
        """Has dead letters of a call that has ended run again, all of them or those of `indexes`; which, ascending.

        Their outcomes are gone then, the call is open, and outcomes of attempts up to now count no more: all of it, or
        nothing. An open call, a cancelled one and one that is not on record have none.
        """
        ...

    async def children(self, call: CallId, *, start: int = 0, limit: int = 1000) -> tuple[CallRecord, ...]:
        """The calls that inputs of a call have made, in the order in which they were recorded, without the first `start`."""
        ...

    async def end_call(self, call: CallId, *, state: CallState, at_s: float) -> bool:
        """Records that a call was cancelled, or ended without all of its outcomes; whether it was open."""
        ...

    async def call(self, call: CallId) -> CallRecord | None:
        """The call on record, durable or of the history."""
        ...

    async def calls(self, *, function: FunctionId | None = None, limit: int = 100) -> tuple[CallRecord, ...]:
        """The calls that were recorded last, the newest first."""
        ...

    async def open_calls(
        self, *, function: FunctionId | None = None, call: CallId | None = None
    ) -> tuple[OpenCall, ...]:
        """The durable calls (of one function, or one call) that have not ended, oldest first, and what each still lacks."""
        ...

    async def inputs(self, call: CallId, *, start: int, stop: int) -> tuple[InputChunk, ...]:
        """The inputs [start, stop) that are on record, ascending; the caller bounds how many."""
        ...

    async def outcomes(self, call: CallId, *, start: int, stop: int) -> tuple[OutcomeRecord, ...]:
        """The outcomes of the inputs [start, stop), ascending; the caller bounds how many."""
        ...

    def history(self, batch: Sequence[History]) -> None:
        """Takes summaries of calls that are not durable, of containers, and of who was busy, to be recorded a little later.

        Never waits and never raises for a disk in trouble: what could not be recorded is counted in `history_lost`.
        A crash loses what was taken in the last tenth of a second.
        """
        ...

    @property
    def where(self) -> str:
        """The database that keeps the record: a path, a URL, or the word memory."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why writes and reads wait just now, for a database that is away; None while none does."""
        ...

    @property
    def history_lost(self) -> int:
        """Summaries that could not be recorded, or came faster than the disk takes them."""
        ...

    async def containers(
        self, *, function: FunctionId | None = None, limit: int = 100
    ) -> tuple[ContainerRecord, ...]:
        """The containers that were recorded last, the newest first."""
        ...

    async def busy(self, call: CallId) -> tuple[BusyRecord, ...]:
        """In which containers inputs of a call were being run, and for how long."""
        ...

    async def usage(self, *, since_s: float, until_s: float) -> tuple[Usage, ...]:
        """What the containers took that ended in that time, by function."""
        ...

    async def record_layer(self, layer: LayerRecord) -> None:
        """Records a layer; what is on record under its key is replaced."""
        ...

    async def use_layers(self, keys: Collection[str], *, at_s: float) -> None:
        """Records that layers were used."""
        ...

    async def forget_layer(self, key: str) -> bool:
        """Removes a layer from the record; whether it was there."""
        ...

    async def layers(self) -> tuple[LayerRecord, ...]:
        """Every layer, the longest unused first."""
        ...

    async def record_naming(self, naming: Naming) -> bool:
        """Records what a name means from now on, or that it means nothing; whether that is new.

        What the name means already is not recorded again, and a naming of an id that is on record changes nothing. Of
        each name the last `records.MOST_NAMINGS` are kept.
        """
        ...

    async def image_names(self) -> tuple[Naming, ...]:
        """What every name means that means something, by name."""
        ...

    async def namings(self, name: str) -> tuple[Naming, ...]:
        """What a name has meant, the newest first."""
        ...

    async def record_token(self, token: TokenRecord) -> None:
        """Records a token; one that is on record stays as it is."""
        ...

    async def tokens(self) -> tuple[TokenRecord, ...]:
        """Every token, also those that were revoked or have expired, oldest first."""
        ...

    async def revoke_token(self, token: TokenId, *, at_s: float) -> bool:
        """Records that a token lets nobody in any more; whether that is new."""
        ...

    async def use_token(self, token: TokenId, *, by: str, at_s: float) -> bool:
        """Records that `by` used a token that is for once; False where it was revoked or somebody else has used it."""
        ...

    async def record_node(self, node: NodeRecord) -> None:
        """Records a machine that joined; what is on record under its id is replaced."""
        ...

    async def node_records(self) -> tuple[NodeRecord, ...]:
        """Every machine that joined, also those that were removed, oldest first."""
        ...

    async def remove_node(self, node: NodeId, *, at_s: float) -> bool:
        """Records that a machine may not come back; whether that is new."""
        ...

    async def blob_refs(self) -> frozenset[str]:
        """The digests of all blobs that inputs and outcomes on record refer to."""
        ...

    async def sweep(self, *, ended_before_s: float) -> Swept:
        """Removes what ended before then: calls with their inputs and outcomes, containers, apps without calls, deleted names.

        Works in small steps between which others write; one that was broken off is gone on with by the next.
        """
        ...

    async def back_up(self, directory: Path, *, keep: int) -> Path:
        """Makes a backup in `directory`, whole and checked, beside the last `keep`, which include it; where it is.

        Writers go on meanwhile. Raises FeatureUnavailable where the database is not a file of this machine.
        """
        ...

    async def flush(self) -> None:
        """Returns when the history taken so far is on disk, or lost and counted."""
        ...

    async def close(self) -> None:
        """Records what was taken and ends the store; a second time does nothing."""
        ...
