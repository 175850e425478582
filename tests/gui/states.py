"""States of the client as a window meets them: full ones, with the longest words people really have. For all GUI tests."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from vidconf.client.state import (
    LOCAL_SOURCES,
    AccountView,
    ClientState,
    JoinLink,
    LocalSource,
    MeetingPreview,
    PendingChat,
    Reaction,
    TrackView,
    UpcomingMeeting,
    UpdateView,
)
from vidconf.engine.api import Device, Devices
from vidconf.meeting.models import ChatMessage, Floor, Hand, Meeting, Participant, Permissions, Sources

NOW = time.mktime((2026, 11, 24, 8, 21, 0, 0, 0, -1))
"""A Tuesday morning, local time."""
SERVER = "https://hop.moitruong.example.vn"
CODE = "kx7m-2pqa-9tdf"
LINK = JoinLink(SERVER, CODE)
CHAIR_LINK = JoinLink(SERVER, CODE, "s" * 24)
LONG_TITLE = "Họp thẩm định dự thảo Luật Đất đai sửa đổi và các văn bản quy định chi tiết, hướng dẫn thi hành (phiên thứ ba)"
LONG_NAME = "Công Tằng Tôn Nữ Hoàng Thị Phương Thảo"
UNIT = "Sở Nông nghiệp và Môi trường tỉnh Thừa Thiên Huế"
PREVIEW = MeetingPreview(CODE, LONG_TITLE, NOW + 540, 5400, "scheduled", True, False)
DEVICES = Devices(
    cameras=(Device("cam1", "Logitech ConferenceCam CC3000e (046d:0847)"), Device("cam2", "Camera tích hợp")),
    microphones=(Device("mic1", "Jabra Speak 750 – micrô đa hướng USB"), Device("mic2", "Micrô tích hợp")),
    speakers=(Device("spk1", "Jabra Speak 750"), Device("spk2", "Loa màn hình HDMI (Intel Display Audio)")),
)
ORGANISER = AccountView("Trần Thị Bình", "organiser")
MEMBER = AccountView(LONG_NAME, "member", token_kept=False)


def upcoming(now: float = NOW) -> tuple[UpcomingMeeting, ...]:
    """One of each kind: running, soon, later today, over, without a time, tomorrow."""
    link = f"{SERVER}/m/"
    return (
        UpcomingMeeting("m1", "aaaa-aaaa-aaaa", "Giao ban tuần", now - 1800, 5400, "live", True, link + "aaaa-aaaa-aaaa"),
        UpcomingMeeting("m2", CODE, LONG_TITLE, now + 540, 5400, "scheduled", False, link + CODE),
        UpcomingMeeting("m3", "cccc-cccc-cccc", "Nghe báo cáo quy hoạch khoáng sản", now + 4 * 3600, 1800, "scheduled", False, link + "cccc-cccc-cccc"),
        UpcomingMeeting("m4", "dddd-dddd-dddd", "Kiểm tra đường truyền", now - 7200, 900, "ended", False, link + "dddd-dddd-dddd"),
        UpcomingMeeting("m5", "eeee-eeee-eeee", "Phòng trực kỹ thuật", None, None, "scheduled", True, ""),
        UpcomingMeeting("m6", "ffff-ffff-ffff", "Hội nghị trực tuyến 34 tỉnh, thành phố", now + 86400, 14400, "scheduled", False, link + "ffff-ffff-ffff"),
    )


UPDATE = UpdateView(
    "1.4.0", "https://intranet.example.gov.vn/vidconf",
    {"vi": "Sửa tiếng vọng ở phòng họp lớn; chia sẻ màn hình rõ hơn khi đường truyền yếu.", "en": "Less echo in large rooms; sharper sharing on weak lines."},
)  # fmt: skip


def home(**fields: Any) -> ClientState:
    """Signed in, with meetings to come."""
    return replace(ClientState(server=SERVER, account=ORGANISER, name=ORGANISER.name, upcoming=upcoming()), **fields)


def guest_home(**fields: Any) -> ClientState:
    return replace(ClientState(server=SERVER), **fields)


def sources(**named: LocalSource) -> dict[str, LocalSource]:
    """One's own sources: `sources(microphone=LocalSource("on", wanted="on"))`."""
    return {source: named.get(source, LocalSource()) for source in LOCAL_SOURCES}


MICROPHONE_ON = LocalSource("on", wanted="on", device="mic1", level=0.25)
MICROPHONE_MUTED = LocalSource("muted", wanted="muted", device="mic1")
CAMERA_ON = LocalSource("on", wanted="on", device="cam1")


def prejoin(**fields: Any) -> ClientState:
    """A guest before the door, microphone open, camera off."""
    state = ClientState(
        phase="prejoin", server=SERVER, link=LINK, link_meeting=PREVIEW, devices=DEVICES, sources=sources(microphone=MICROPHONE_ON), name="Lê Văn Cường"
    )
    return replace(state, **fields)


def person(id_: str, name: str, **fields: Any) -> Participant:
    """In the room, microphone muted, camera on."""
    made = Participant(id_, name, place="admitted", session=1, connected=True, unit=UNIT, position="Phó Giám đốc", sources=Sources("muted", "on"), since=NOW)
    return replace(made, **fields)


def people() -> dict[str, Participant]:
    """Chair p1, secretary p2, delegates, a site, a guest, a technician; p8 and p9 knock, p9 was removed before."""
    listed = (
        person("p1", "Phạm Quốc Hùng", role="chair", unit="Bộ Nông nghiệp và Môi trường", position="Thứ trưởng", sources=Sources("on", "on")),
        person("p2", "Trần Thị Bình", role="secretary", unit="Văn phòng Bộ", position="Chuyên viên chính"),
        person("p3", "Lê Văn Cường"),
        person("p4", LONG_NAME, sources=Sources("muted", "off")),
        person("p5", "Điểm cầu Quảng Ninh", kind="site", position="", unit="Sở Nông nghiệp và Môi trường tỉnh Quảng Ninh", sources=Sources("on", "on")),
        person("p6", "Khách từ đơn vị tư vấn", role="guest", guest=True, position="", unit="", looks_like="p3"),
        person("p7", "Trực kỹ thuật", role="technician", position="", unit="Trung tâm CNTT", sources=Sources("off", "off")),
        Participant("p8", "Nguyễn Thị Hồng Nhung", place="lobby", guest=True, connected=True, session=1, since=NOW - 95),
        Participant("p9", "Đặng Văn Giang", place="lobby", connected=True, session=1, removed_before=True, since=NOW - 30),
    )
    return {one.id: one for one in listed}


def meeting(**fields: Any) -> Meeting:
    """Running, two hands up, a floor given, some chat."""
    chat = (
        ChatMessage("c1", NOW - 300, "p2", "Trần Thị Bình", "Tài liệu phiên họp đã gửi qua trục văn bản."),
        ChatMessage("c2", NOW - 120, "p5", "Điểm cầu Quảng Ninh", "Điểm cầu đề nghị được phát biểu sau mục 2."),
        ChatMessage("c3", NOW - 60, "p2", "Trần Thị Bình", "Đã ghi nhận.", to="p1"),
    )
    made = Meeting(
        "M1", CODE, LONG_TITLE, state="live", start=NOW - 1800, started_at=NOW - 1790, participants=people(), hands=(Hand("p4", NOW - 40), Hand("p5", NOW - 20)),
        floor=Floor("p3", NOW - 75, NOW + 105), permissions=Permissions(microphone="by_floor"), chat=chat, seq=40,
    )  # fmt: skip
    return replace(made, **fields)


def in_lobby(**fields: Any) -> ClientState:
    """A guest who waits; as the server shows it: oneself alone."""
    own = Participant("p8", "Nguyễn Thị Hồng Nhung", place="lobby", guest=True, connected=True, session=1, since=NOW - 95, unit=UNIT, position="Chuyên viên")
    seen = Meeting("M1", CODE, LONG_TITLE, state="live", participants={"p8": own}, seq=40)
    state = ClientState(
        phase="lobby", server=SERVER, link=LINK, link_meeting=PREVIEW, me="p8", meeting=seen, name=own.name, lobby_since=NOW - 95, devices=DEVICES,
        control="connected", sources=sources(microphone=MICROPHONE_ON),
    )  # fmt: skip
    return replace(state, **fields)


def in_meeting(me: str = "p1", **fields: Any) -> ClientState:
    """In the running meeting as `me` (the chair), seen as a moderator sees it; everybody's camera is the track `cam-<id>`."""
    seen = fields.pop("meeting", None) or meeting()
    tracks = {
        f"cam-{one.id}": TrackView(f"cam-{one.id}", f"{one.id}.1", one.id, "camera", "video")
        for one in seen.admitted() if one.id != me and one.sources.camera == "on"
    }  # fmt: skip
    state = ClientState(
        phase="meeting", server=SERVER, link=LINK, link_meeting=PREVIEW, me=me, meeting=seen, name=seen.participants[me].name, control="connected",
        media="connected", devices=DEVICES, sources=sources(microphone=MICROPHONE_MUTED, camera=CAMERA_ON), tracks=tracks, speaking=(("p3", 0.4),), main_speaker="p3",
        quality={"p4": "poor", "p5": "lost"}, unread_chat=2, reactions=(Reaction("p5", "👏", NOW - 1),),
        unsent_chat=(PendingChat("k1", "Đang gửi", None, NOW),),
    )  # fmt: skip
    return replace(state, **fields)


def ended(reason: str, **fields: Any) -> ClientState:
    return replace(ClientState(phase="ended", server=SERVER, link=LINK, link_meeting=PREVIEW, end_reason=reason, name="Lê Văn Cường"), **fields)
