"""What a participant may do at the relay: from its token, replaced as a whole by UpdateParticipant. Pure; any thread."""

from __future__ import annotations

from dataclasses import dataclass, replace

from livekit.protocol import models

from vidconf.protocol.livekit import SOURCE_NAMES, SOURCE_NUMBERS, Grants


@dataclass(frozen=True, slots=True)
class Permission:
    can_subscribe: bool = True
    can_publish: bool = True
    can_publish_data: bool = True
    sources: frozenset[int] = frozenset()
    """livekit.TrackSource; empty means all. A word that is no source of ours permits nothing but is not nothing: `unknown`."""
    unknown: bool = False
    hidden: bool = False
    recorder: bool = False
    can_update_metadata: bool = False

    @classmethod
    def from_grants(cls, grants: Grants) -> Permission:
        known = frozenset(SOURCE_NUMBERS[s] for s in grants.can_publish_sources if s in SOURCE_NUMBERS)
        return cls(
            grants.permits_subscribing(), grants.permits_publishing(), grants.permits_data(), known,
            bool(grants.can_publish_sources) and not known, grants.hidden, grants.recorder, grants.can_update_own_metadata,
        )  # fmt: skip

    @classmethod
    def from_message(cls, message: models.ParticipantPermission) -> Permission:
        return cls(
            message.can_subscribe, message.can_publish, message.can_publish_data, frozenset(message.can_publish_sources), False,
            message.hidden, message.recorder, message.can_update_metadata,
        )  # fmt: skip

    def to_message(self) -> models.ParticipantPermission:
        return models.ParticipantPermission(
            can_subscribe=self.can_subscribe, can_publish=self.can_publish, can_publish_data=self.can_publish_data,
            can_publish_sources=sorted(self.sources), hidden=self.hidden, recorder=self.recorder,  # type: ignore[arg-type]
            can_update_metadata=self.can_update_metadata,
        )  # fmt: skip

    def to_grants(self, grants: Grants) -> Grants:
        """`grants` with this permission in them: what a refreshed token says."""
        return replace(
            grants, can_publish=self.can_publish, can_subscribe=self.can_subscribe, can_publish_data=self.can_publish_data,
            can_publish_sources=tuple(SOURCE_NAMES[s] for s in sorted(self.sources) if s in SOURCE_NAMES) or grants.can_publish_sources * self.unknown,
            can_update_own_metadata=self.can_update_metadata, hidden=self.hidden, recorder=self.recorder,
        )  # fmt: skip

    def permits(self, source: int) -> bool:
        """Whether a track of `source` may be published."""
        return self.can_publish and not self.unknown and (not self.sources or source in self.sources)
