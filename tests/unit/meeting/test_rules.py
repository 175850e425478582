"""The laws of a meeting, one by one, as its people would tell them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting
from vidconf.meeting.reducer import KNOWN_PER_SEAT, apply, start
from vidconf.meeting.rights import CAPABILITIES
from vidconf.meeting.rules import CHAT_CHARACTERS, CHAT_LIMIT, CHAT_MESSAGES, CHAT_SHARE, allowed, decide
from vidconf.protocol.control import encode_meeting
from vidconf.protocol.frames import SERVER_FRAME_LIMIT


class Room:
    """A meeting with its chair in, and short ways to bring others."""

    def __init__(self, **settings: Any) -> None:
        self.state: Meeting = start("m1", "code", "Giao ban", **settings)
        self.now = 1000.0
        self.knock("chair", "Chủ trì", role="chair", straight_in=True, account="a-chair")

    def do(self, actor: str, command: m.Command) -> list[str]:
        """Names of the events; fails on a refusal."""
        decided = decide(self.state, actor, command, self.now)
        assert not isinstance(decided, m.Refusal), decided
        for event in decided:
            self.state = apply(self.state, m.Recorded(self.state.seq + 1, self.now, actor, event))
        return [event.name for event in decided]

    def no(self, actor: str, command: m.Command) -> str:
        """The code of the refusal."""
        refused = decide(self.state, actor, command, self.now)
        assert isinstance(refused, m.Refusal), refused
        return refused.code

    def knock(self, who: str, name: str = "", **fields: Any) -> list[str]:
        return self.do("server", m.Knock(who, name or f"Người {who}", **fields))

    def bring(self, who: str, **fields: Any) -> None:
        self.knock(who, straight_in=True, **fields)
        self.do("server", m.Connect(who))

    def place(self, who: str) -> str:
        return self.state.participants[who].place

    def live(self, who: str) -> str:
        return self.state.participants[who].sources.microphone


@pytest.fixture
def room() -> Room:
    made = Room()
    for who in ("an", "binh"):
        made.bring(who, account=f"a-{who}")
    return made


# ---- coming in -------------------------------------------------------------------------------------------------------


def test_a_chair_starts_the_meeting_and_staff_does_not() -> None:
    empty = Room.__new__(Room)
    empty.state, empty.now = start("m1", "code", "Giao ban"), 1.0
    assert empty.knock("tech", role="technician", straight_in=True) == ["knocked", "admitted"]
    assert empty.state.state == "scheduled"
    assert empty.knock("chair", role="chair", straight_in=True) == ["knocked", "admitted", "started"]


def test_knock_wait_admit(room: Room) -> None:
    assert room.knock("chi") == ["knocked"]
    assert room.no("an", m.Admit(("chi",))) == "not_allowed"
    assert room.no("chi", m.Chat("cho tôi vào")) == "in_lobby"
    assert room.no("chi", m.Media()) == "in_lobby"
    assert room.do("chair", m.Admit(("chi",))) == ["admitted"]
    assert room.do("chair", m.Admit(("chi",))) == []  # a second moderator clicked too
    assert room.no("chair", m.Deny(("chi",))) == "not_in_lobby"
    assert room.do("chi", m.Media()) == []


def test_without_a_lobby_the_link_lets_in() -> None:
    room = Room(lobby=False)
    assert room.knock("an") == ["knocked", "admitted"]


def test_denied_must_be_admitted_the_next_time_too() -> None:
    room = Room(lobby=False)
    room.bring("an")
    room.do("chair", m.ToLobby(("an",)))
    assert room.knock("an") == []
    room.do("chair", m.Deny(("an",), "chưa đến lượt"))
    assert room.knock("an", straight_in=True) == ["knocked"]
    room.do("an", m.Leave())
    assert room.knock("an") == ["knocked"]


def test_lock_keeps_newcomers_out_but_not_those_who_lost_the_room(room: Room) -> None:
    room.do("chair", m.Lock())
    assert room.no("server", m.Knock("chi", "Chi")) == "locked"
    room.do("server", m.Disconnect("an"))
    room.do("server", m.Expire("an"))
    assert room.place("an") == "left"
    assert room.knock("an") == ["knocked", "admitted"]
    assert room.knock("tech", role="technician", straight_in=True) == ["knocked", "admitted"]


def test_full() -> None:
    room = Room(lobby=False, capacity=2)
    room.knock("an")
    assert room.no("server", m.Knock("binh", "Bình", straight_in=True)) == "full"
    assert room.knock("chair2", role="chair", straight_in=True) == ["knocked", "admitted"]  # a chair always gets in
    lobby = Room(capacity=3)
    for who in ("an", "binh", "chi"):
        lobby.knock(who)
    assert lobby.no("server", m.Knock("dung", "Dũng")) == "full"
    assert lobby.no("chair", m.Admit(("an", "binh", "chi"))) == "full"
    assert lobby.do("chair", m.AdmitAll()) == ["admitted", "admitted"]
    assert lobby.no("chair", m.AdmitAll()) == "full"


def test_removed_knocks_marked_and_admit_all_leaves_it(room: Room) -> None:
    assert room.do("chair", m.Remove(("an",))) == ["removed"]
    assert room.knock("an", straight_in=True) == ["knocked"]
    assert room.state.participants["an"].removed_before
    assert room.no("chair", m.AdmitAll()) == "only_removed_waiting"
    room.knock("chi")
    assert room.do("chair", m.AdmitAll()) == ["admitted"]
    assert room.do("chair", m.Admit(("an",))) == ["admitted"]
    assert not room.state.participants["an"].removed_before


def test_removed_external_client_does_not_come_back(room: Room) -> None:
    room.bring("gateway", kind="external")
    room.do("server", m.Disconnect("gateway"))
    room.do("server", m.Expire("gateway"))
    room.do("chair", m.Remove(("gateway",)))
    assert room.no("server", m.Knock("gateway", "G", kind="external", straight_in=True)) == "removed"


def test_ban_refuses_account_and_badge_and_opens_the_guest_lobby() -> None:
    room = Room(lobby=False)
    room.bring("an", account="a-an")
    room.bring("khach", guest=True, badge="b-1")
    room.bring("khach2", guest=True, badge="b-1")
    epoch = room.state.epoch
    assert room.do("chair", m.Ban(("an",))) == ["removed", "banned", "epoch_changed"]
    assert room.state.epoch == epoch + 1
    assert room.no("server", m.Knock("other", "An", account="a-an")) == "banned"
    assert room.no("server", m.Knock("an", "An")) == "banned"
    assert room.do("chair", m.Ban(("khach",))) == ["removed", "banned", "removed", "banned", "guest_lobby_opened", "epoch_changed"]
    assert room.no("server", m.Knock("khach3", "Khách", guest=True, badge="b-1")) == "banned"
    assert room.knock("khach4", guest=True, badge="b-4") == ["knocked"]
    assert room.knock("binh", account="a-binh") == ["knocked", "admitted"]
    assert room.do("chair", m.Ban(("an",))) == []


def test_names_are_cleaned_and_look_alikes_marked(room: Room) -> None:
    room.knock("chi", "  Nguyễn\u202e  Chi ")
    assert room.state.participants["chi"].name == "Nguyễn Chi"
    room.knock("gia", "Nguyễn Сhi")  # Cyrillic С
    assert room.state.participants["gia"].looks_like == "chi"
    assert room.no("server", m.Knock("x", "\u200b")) == "bad_name"
    assert room.no("an", m.Rename("x" * 65)) == "bad_name"
    assert room.no("an", m.Rename("Bình", "binh")) == "not_allowed"
    assert room.do("an", m.Rename("Người binh")) == ["renamed"]
    assert room.state.participants["an"].looks_like == "binh"


def test_coming_again_keeps_the_role_the_meeting_gave(room: Room) -> None:
    room.do("chair", m.SetRole("an", "delegate", co_chair=True))
    room.do("chair", m.SetRole("binh", "secretary"))
    for who in ("an", "binh"):
        room.do(who, m.Leave())
        assert room.knock(who) == ["knocked", "admitted"]
    assert room.state.participants["an"].co_chair
    assert room.state.participants["binh"].role == "secretary"
    room.do("chair", m.Remove(("an",)))
    room.knock("an")
    assert not room.state.participants["an"].co_chair


def test_a_chair_link_makes_a_chair_of_who_is_there_already(room: Room) -> None:
    assert room.knock("an", role="chair", straight_in=True) == ["role_set"]
    room.knock("chi")
    assert room.knock("chi", role="chair", straight_in=True) == ["admitted"]
    assert room.state.participants["chi"].role == "chair"


def test_knocking_over_and_over_is_forgotten() -> None:
    room = Room(capacity=5, lobby=False)
    for number in range(100):
        room.knock(f"p{number}", guest=True)
        room.do(f"p{number}", m.Leave())
    assert len(room.state.participants) <= KNOWN_PER_SEAT * 5 + 1
    assert "chair" in room.state.participants


def test_presence(room: Room) -> None:
    assert room.do("server", m.Connect("an")) == ["connected"]
    assert room.state.participants["an"].session == 2
    assert room.do("server", m.Disconnect("an", session=1)) == []  # the older connection's end
    assert room.do("server", m.Expire("an")) == []  # still there
    assert room.do("server", m.Disconnect("an", session=2)) == ["disconnected"]
    assert room.do("server", m.Expire("an")) == ["left"]
    assert room.no("server", m.Connect("an")) == "not_in_meeting"
    assert room.no("an", m.Connect("an")) == "server_only"


# ---- the last chair --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [m.Remove(("chair",)), m.Ban(("chair",)), m.ToLobby(("chair",)), m.SetRole("chair", "delegate")], ids=lambda c: c.name
)
def test_the_last_chair_cannot_be_taken_away(room: Room, command: m.Command) -> None:
    room.do("chair", m.SetRole("an", "secretary"))
    assert room.no("account:admin", command) == "last_chair"
    assert room.no("an", command) in ("target_is_chair", "not_allowed")
    room.do("chair", m.SetRole("binh", "chair"))
    assert room.no("an", command) == "target_is_chair"
    room.do("binh", command)
    assert room.no("binh", m.SetRole("binh", "delegate")) == "last_chair"


def test_two_chairs_cannot_be_removed_at_once(room: Room) -> None:
    room.do("chair", m.SetRole("an", "chair"))
    assert room.no("account:admin", m.Remove(("an", "chair"))) == "last_chair"


def test_a_chair_that_left_may_return_or_end(room: Room) -> None:
    room.do("chair", m.SetRole("binh", "secretary"))
    room.do("chair", m.Leave())
    assert room.state.participants["chair"].role == "chair"
    assert room.no("binh", m.Remove(("chair",))) == "target_is_chair"
    assert room.no("chair", m.Lock()) == "not_in_meeting"
    assert allowed(room.state, "chair", m.End()) is None
    assert room.knock("chair") == ["knocked", "admitted"]
    room.do("chair", m.Leave())
    assert room.do("chair", m.End()) == ["ended", "epoch_changed"]


def test_roles(room: Room) -> None:
    room.do("chair", m.SetRole("an", "delegate", co_chair=True))
    assert room.no("an", m.SetRole("binh", "chair")) == "chair_gives_chair"
    assert room.do("an", m.SetRole("binh", "technician")) == ["role_set"]
    assert room.no("binh", m.End()) == "not_allowed"
    assert room.no("binh", m.Ban(("an",))) == "not_allowed"
    assert room.no("chair", m.SetRole("an", "guest", co_chair=True)) == "co_chair_is_delegate"
    assert room.do("chair", m.SetRole("an", "delegate")) == []  # co_chair unsaid stays
    assert room.do("chair", m.SetRole("an", "guest")) == ["role_set"]
    assert not room.state.participants["an"].co_chair


def test_the_table_gives_the_chair_everything() -> None:
    assert all("chair" in who for who in CAPABILITIES.values())


# ---- being heard and seen --------------------------------------------------------------------------------------------


def test_mute_and_unmute_oneself(room: Room) -> None:
    room.do("an", m.SetSource("microphone", "on"))
    assert room.no("binh", m.Mute(("an",))) == "not_allowed"
    assert room.do("chair", m.Mute(("an",))) == ["muted"]
    assert room.live("an") == "muted"
    assert room.do("an", m.SetSource("microphone", "on")) == ["source_changed"]
    room.do("binh", m.SetSource("microphone", "on"))
    assert room.do("chair", m.MuteAll(("an",))) == ["muted"]
    assert (room.live("an"), room.live("binh")) == ("on", "muted")
    assert room.no("chair", m.Mute(())) == "nobody_named"
    assert room.no("chair", m.Mute(("nobody",))) == "not_here"
    assert room.do("chair", m.Mute(("nobody", "an"))) == ["muted"]


def test_stop_camera_and_share(room: Room) -> None:
    for source in ("camera", "screen_share"):
        room.do("an", m.SetSource(source, "on"))
    assert room.do("chair", m.StopCamera(("an",))) == ["camera_stopped"]
    assert room.do("chair", m.StopShare(("an",))) == ["share_stopped"]
    sources = room.state.participants["an"].sources
    assert (sources.camera, sources.screen_share) == ("off", "off")


@pytest.mark.parametrize("permission", ["by_floor", "moderators"])
def test_microphones_by_permission(room: Room, permission: Any) -> None:
    for who in ("an", "binh", "chair"):
        room.do(who, m.SetSource("microphone", "on"))
    assert room.do("chair", m.SetPermission("microphone", permission)) == ["permission_set", "muted", "muted"]
    assert [room.live(who) for who in ("an", "binh", "chair")] == ["muted", "muted", "on"]
    assert room.no("an", m.SetSource("microphone", "on")) == ("needs_floor" if permission == "by_floor" else "moderators_only")
    assert room.no("chair", m.AskUnmute(("an",))) == "needs_floor"
    assert room.do("chair", m.GiveFloor("an", 60)) == ["floor_given", "unmute_asked"]
    assert room.live("an") == "muted"  # asked, not unmuted
    room.do("an", m.SetSource("microphone", "on"))
    assert room.do("chair", m.GiveFloor("binh")) == ["floor_ended", "floor_given", "unmute_asked", "muted"]
    assert room.live("an") == "muted"
    room.do("binh", m.SetSource("microphone", "on"))
    assert room.do("binh", m.EndFloor()) == ["floor_ended", "muted"]
    assert room.no("chair", m.EndFloor()) == "no_floor"


def test_a_moderator_who_ceases_to_be_one_is_stopped(room: Room) -> None:
    room.do("chair", m.SetRole("an", "secretary"))
    room.do("chair", m.SetPermission("camera", "moderators"))
    room.do("an", m.SetSource("camera", "on"))
    assert room.do("chair", m.SetRole("an", "delegate")) == ["role_set", "camera_stopped"]


def test_the_floor_ends_with_its_holder(room: Room) -> None:
    room.do("an", m.RaiseHand())
    room.do("chair", m.GiveFloor("an", 60))
    assert room.state.floor is not None
    assert room.state.floor.until == room.now + 60
    assert room.state.hands == ()
    assert room.do("an", m.Leave()) == ["floor_ended", "left"]
    assert room.no("chair", m.GiveFloor("an")) == "not_here"
    assert room.no("chair", m.GiveFloor("binh", 0)) == "bad_seconds"


def test_a_site_with_standing_consent_is_told_so(room: Room) -> None:
    room.bring("site", kind="site")
    assert room.no("an", m.SetConsent(True)) == "sites_only"
    room.do("site", m.SetConsent(True))
    decided = decide(room.state, "chair", m.GiveFloor("site"), room.now)
    assert isinstance(decided, tuple)
    assert decided[-1] == m.UnmuteAsked("site", consent=True)
    decided = decide(room.state, "chair", m.AskUnmute(("site",)), room.now)
    assert decided == (m.UnmuteAsked("site"),)  # consent is for the floor


def test_the_sfu_is_believed_but_not_obeyed(room: Room) -> None:
    assert room.do("server", m.CorrectSource("an", "camera", "on")) == ["source_changed"]
    room.do("chair", m.SetPermission("microphone", "by_floor"))
    assert room.do("server", m.CorrectSource("an", "microphone", "on")) == ["muted"]
    assert room.live("an") == "off"
    assert room.do("server", m.CorrectSource("ghost", "microphone", "on")) == []


def test_hands(room: Room) -> None:
    for who in ("an", "binh", "chair"):
        room.do(who, m.RaiseHand())
    assert room.do("an", m.RaiseHand()) == []
    assert room.do("chair", m.MoveHand("chair", 1)) == ["hand_moved"]
    assert [hand.participant for hand in room.state.hands] == ["chair", "an", "binh"]
    assert room.do("chair", m.MoveHand("chair", 99)) == ["hand_moved"]
    assert [hand.participant for hand in room.state.hands] == ["an", "binh", "chair"]
    assert room.no("an", m.LowerHand(("binh",))) == "not_allowed"
    assert room.do("binh", m.LowerHand()) == ["hand_lowered"]
    assert room.no("chair", m.MoveHand("binh", 1)) == "hand_not_raised"
    assert room.do("chair", m.LowerHand(("an", "chair"))) == ["hand_lowered", "hand_lowered"]
    assert room.do("chair", m.RaiseHand(("binh",))) == ["hand_raised"]


# ---- the rest --------------------------------------------------------------------------------------------------------


def test_chat(room: Room) -> None:
    assert room.do("an", m.Chat(" Kính thưa\r\nhội nghị\x07 ")) == ["chat_sent"]
    assert room.state.chat[-1].text == "Kính thưa\nhội nghị"
    assert room.no("an", m.Chat(" \u200b ")) == "chat_empty"
    assert room.no("an", m.Chat("x" * 4001)) == "chat_too_long"
    assert room.do("an", m.Chat("x" * 4000)) == ["chat_sent"]
    assert room.do("an", m.Chat("riêng", "chair")) == ["chat_sent"]
    assert room.no("an", m.Chat("riêng", "an")) == "not_yourself"
    room.knock("chi")
    assert room.no("an", m.Chat("riêng", "chi")) == room.no("an", m.Chat("riêng", "nobody")) == "not_here"
    room.do("chair", m.SetPermission("chat", "moderators"))
    assert room.no("an", m.Chat("nữa")) == "chat_closed"
    assert room.do("chair", m.Chat("xin chờ")) == ["chat_sent"]
    assert room.no("account:admin", m.Chat("từ ngoài")) == "not_in_meeting"


def test_chat_is_refused_rather_than_forgotten(room: Room) -> None:
    room.do("an", m.Chat("một"))
    room.state = apply(room.state, m.Recorded(room.state.seq + 1, 1.0, "an", m.Locked()))
    object.__setattr__(room.state, "chat", room.state.chat * CHAT_MESSAGES)
    assert room.no("an", m.Chat("nữa")) == "chat_full"


@pytest.mark.parametrize(("text", "times"), [("một", CHAT_MESSAGES // CHAT_SHARE), ("m" * 3000, CHAT_CHARACTERS // CHAT_SHARE // 3000)])
def test_nobody_but_a_moderator_fills_the_chat_for_all(room: Room, text: str, times: int) -> None:
    room.do("an", m.Chat(text))
    object.__setattr__(room.state, "chat", room.state.chat * times)
    assert room.no("an", m.Chat("nữa")) == "chat_share_full"
    assert room.do("binh", m.Chat("tôi chưa nói")) == ["chat_sent"]
    object.__setattr__(room.state, "chat", tuple(replace(said, sender="chair") for said in room.state.chat))
    assert room.do("chair", m.Chat("chủ trì còn nói")) == ["chat_sent"]


def test_the_whole_chat_always_fits_into_the_frame_that_brings_it(room: Room) -> None:
    room.do("an", m.Chat("ế" * CHAT_LIMIT))
    worst = CHAT_CHARACTERS * 3 + CHAT_MESSAGES * len(json.dumps(encode_meeting(room.state)["chat"][0] | {"text": ""}))
    assert worst < SERVER_FRAME_LIMIT
    object.__setattr__(room.state, "chat", room.state.chat * (CHAT_CHARACTERS // CHAT_LIMIT))
    assert room.no("binh", m.Chat("nữa")) == "chat_full"


def test_a_full_lobby_keeps_out_new_guests_only() -> None:
    full = Room(capacity=3)
    for who in ("g1", "g2", "g3"):
        full.knock(who, guest=True, badge=f"badge-{who}-0123456789")
    assert full.no("server", m.Knock("g4", "Khách", guest=True)) == "full"
    assert full.knock("g1", guest=True) == []  # waits already
    assert full.knock("an", account="a-an") == ["knocked"]


def test_reactions_are_pictures(room: Room) -> None:
    for emoji in ("👍", "❤️", "👏🏽", "👨‍👩‍👧", "🇻🇳", "😂"):
        assert room.do("an", m.React(emoji)) == []
    for not_one in ("", "ok", "👍" * 13, "\u202e"):
        assert room.no("an", m.React(not_one)) == "bad_reaction"


def test_spotlight(room: Room) -> None:
    assert room.do("chair", m.Spotlight("an")) == ["spotlit"]
    room.do("an", m.Leave())
    assert room.state.spotlight is None
    assert room.no("chair", m.Spotlight("an")) == "not_here"
    assert room.do("chair", m.Spotlight(None)) == []


def test_end(room: Room) -> None:
    room.knock("chi")
    room.do("chair", m.GiveFloor("an"))
    epoch = room.state.epoch
    assert room.no("an", m.End()) == "not_allowed"
    assert room.do("chair", m.End()) == ["floor_ended", "ended", "epoch_changed"]
    assert (room.state.state, room.state.epoch) == ("ended", epoch + 1)
    assert {p.place for p in room.state.participants.values()} == {"left"}
    assert room.no("chair", m.Chat("còn ai")) == "meeting_ended"
    assert room.no("server", m.Knock("an", "An")) == "meeting_ended"
    for late in (m.Disconnect("an"), m.Expire("an"), m.CorrectSource("an", "camera", "on")):
        assert room.do("server", late) == []


def test_an_account_acts_as_a_chair_but_is_nobody_in_the_room(room: Room) -> None:
    room.knock("chi")
    assert room.do("account:admin", m.AdmitAll()) == ["admitted"]
    assert room.do("account:admin", m.SetRole("an", "chair")) == ["role_set"]
    for own in (m.RaiseHand(), m.SetSource("microphone", "on"), m.Leave(), m.Media(), m.React("👍")):
        assert room.no("account:admin", own) == "not_in_meeting"
    assert room.do("account:admin", m.End()) == ["ended", "epoch_changed"]


def test_the_command_nobody_knows(room: Room) -> None:
    class Strange(m.Command):
        name = "strange"

    assert room.no("chair", Strange()) == "unknown_command"


def test_ids_that_would_pass_for_an_account_are_refused(room: Room) -> None:
    assert room.no("server", m.Knock("account:an", "An")) == "malformed"
