"""What the server tells Prometheus: gathered when asked, so that nothing is counted twice. The loop's thread.

Names begin with `vidconf_`; no name, code or identity of a meeting or a person is in them.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vidconf.server import backup
from vidconf.server.config import Config
from vidconf.server.control import Control
from vidconf.server.gate import Door, Passage
from vidconf.server.media import Media
from vidconf.server.relay_child import RelayChild
from vidconf.server.room import Rooms

Family = TypeVar("Family", CounterMetricFamily, GaugeMetricFamily)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Measured(Protocol):
    """What of the server is measured (`app.Server`)."""

    config: Config
    rooms: Rooms
    control: Control
    media: Media
    door: Door
    passage: Passage | None
    relay: RelayChild | None


class _Now(Collector):
    """The server's figures at this moment."""

    def __init__(self, server: Measured) -> None:
        self._server = server

    def collect(self) -> Iterable[Metric]:
        server = self._server
        rooms = server.rooms.loaded()
        places = Tally(p.place for room in rooms for p in room.state.participants.values())
        yield GaugeMetricFamily("vidconf_meetings", "Meetings that are live now", sum(room.state.state == "live" for room in rooms))
        yield GaugeMetricFamily("vidconf_rooms_loaded", "Rooms in memory", len(rooms))
        here = {place: places.get(place, 0) for place in ("lobby", "admitted")}
        yield _labelled(GaugeMetricFamily("vidconf_participants", "People by place", labels=["place"]), here)
        yield GaugeMetricFamily("vidconf_control_connections", "Control connections", len(server.control.connections))
        yield _labelled(CounterMetricFamily("vidconf_control", "What was dropped or refused at the control door", labels=["what"]), server.control.counts)
        yield GaugeMetricFamily("vidconf_media_signalling_connections", "Signalling connections passed on", server.passage.connections if server.passage else 0)
        asked = {"passed": server.door.passed, "refused": server.door.refused, "slowed": server.door.slowed}
        yield _labelled(CounterMetricFamily("vidconf_media_door", "Requests at the SFU's door", labels=["answer"]), asked)
        yield CounterMetricFamily("vidconf_sfu_calls_failed", "Calls to the SFU that failed and were made again", server.media.calls_failed)
        yield CounterMetricFamily("vidconf_sfu_looks", "Comparisons with the SFU's list", server.media.looks)
        yield CounterMetricFamily("vidconf_relay_starts", "Starts of the relay process", server.relay.starts if server.relay else 0)
        saved_at = backup.newest_at(server.config.data)
        yield GaugeMetricFamily("vidconf_backup_newest_seconds", "When the newest backup in the data folder was made, Unix time; 0: none", saved_at)


def _labelled(family: Family, values: Mapping[str, float]) -> Family:
    for label, value in values.items():
        family.add_metric([label], value)
    return family


class Metrics:
    def __init__(self, server: Measured) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(namespace="vidconf", registry=self._registry)
        self._registry.register(_Now(server))

    def text(self) -> bytes:
        return generate_latest(self._registry)
