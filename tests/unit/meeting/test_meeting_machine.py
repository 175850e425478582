"""Random commands by random actors: what no sequence of them may ever reach, and the view property of every viewer.

The same checks twice: under Hypothesis' state machine, which finds the shortest way into a fault, and along seeded walks,
which get deeper into a meeting than the machine's few dozen steps.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from vidconf.meeting import messages as m
from vidconf.meeting.models import KINDS, ROLES, SOURCES, Meeting
from vidconf.meeting.reducer import apply, start
from vidconf.meeting.refusals import REFUSALS
from vidconf.meeting.rights import is_moderator, may_use
from vidconf.meeting.rules import allowed, decide
from vidconf.meeting.visibility import follow, level, missed, needs_snapshot, view, visible_to
from vidconf.protocol.control import EVENTS, decode_command, decode_event, decode_meeting, encode_command, encode_event, encode_meeting

IDS = ("p1", "p2", "p3", "p4", "p5", "p6")
VIEWERS: tuple[str | None, ...] = (*IDS, "ghost", None, "account:key")
# Few, so that the same one is met again, and look-alikes are.
NAMES = ("An", "Bình", "Аn", "Chi", "chi", "\u202e", "x" * 65)

ids = st.sampled_from((*IDS, "ghost"))
several = st.one_of(st.lists(ids, min_size=1, max_size=3), st.lists(ids, max_size=3)).map(tuple)
some_id = st.sampled_from(IDS)
actors = st.sampled_from((*IDS, *IDS, "account:key", "server", "ghost"))

MODERATING: st.SearchStrategy[m.Command] = st.one_of(
    st.builds(m.Admit, several),
    st.just(m.AdmitAll()),
    st.builds(m.Deny, several, st.sampled_from(("", "Không có tên trong danh sách"))),
    st.builds(m.ToLobby, several),
    st.builds(m.Remove, several),
    st.builds(m.Ban, several),
    st.builds(m.SetRole, ids, st.sampled_from(ROLES), st.sampled_from((None, None, True, False))),
    st.sampled_from((m.Lock(), m.Unlock(), m.Unlock())),
)
SPEAKING: st.SearchStrategy[m.Command] = st.one_of(
    st.builds(m.Mute, several),
    st.builds(m.MuteAll, several),
    st.builds(m.StopCamera, several),
    st.builds(m.StopShare, several),
    st.builds(m.AskUnmute, several),
    st.builds(m.SetPermission, st.sampled_from((*SOURCES, "microphone", "chat")), st.sampled_from(("all", "moderators", "by_floor"))),
    st.builds(m.GiveFloor, ids, st.sampled_from((None, 60, 0, 10**9))),
    st.just(m.EndFloor()),
    st.builds(m.RaiseHand, st.one_of(st.just(()), several)),
    st.builds(m.LowerHand, st.one_of(st.just(()), several)),
    st.builds(m.MoveHand, ids, st.integers(-1, 5)),
    st.builds(m.Spotlight, st.one_of(st.none(), ids)),
)
OWN: st.SearchStrategy[m.Command] = st.one_of(
    st.builds(m.SetSource, st.sampled_from(SOURCES), st.sampled_from(("on", "on", "muted", "off"))),
    st.builds(m.SetSource, st.just("microphone"), st.just("on")),
    st.builds(m.Chat, st.sampled_from(("Kính thưa hội nghị", "  ", "x" * 4001)), st.one_of(st.none(), ids)),
    st.builds(m.Rename, st.sampled_from(NAMES), st.one_of(st.none(), ids)),
    st.builds(m.React, st.sampled_from(("👍", "not one", ""))),
    st.builds(m.SetConsent, st.booleans()),
    st.just(m.RaiseHand()),
    st.just(m.Media()),
    st.just(m.Leave()),
)
SERVER: st.SearchStrategy[m.Command] = st.one_of(
    st.builds(m.Connect, ids),
    st.builds(m.Disconnect, ids, st.sampled_from((None, 1, 2))),
    st.builds(m.Disconnect, some_id),
    st.builds(m.Expire, ids),
    st.builds(m.CorrectSource, ids, st.sampled_from(SOURCES), st.sampled_from(("on", "muted", "off"))),
    st.just(m.NewEpoch()),
)


@st.composite
def knocks(draw: st.DrawFn) -> m.Knock:
    who = draw(some_id)
    role = draw(st.sampled_from(("delegate", "delegate", *ROLES)))
    guest = draw(st.booleans())
    return m.Knock(
        participant=who,
        new_name=draw(st.sampled_from(NAMES)),
        role=role,
        kind=draw(st.sampled_from(("person", "person", *KINDS))),
        unit=draw(st.sampled_from(("", "Sở NN&MT"))),
        guest=guest,
        account=None if guest else draw(st.sampled_from((f"a-{who}", "a-shared"))),
        badge=f"b-{who}" if guest else None,
        straight_in=role == "chair" or draw(st.sampled_from((False, False, True))),
    )


def same(one: Meeting, other: Meeting) -> bool:
    """Equal but for `seq`, and with the participants in the same order."""
    return replace(one, seq=0) == replace(other, seq=0) and list(one.participants) == list(other.participants)


class World:
    """A server's state, its log, and every viewer's client, checked after each command."""

    def __init__(self, **meeting: Any) -> None:
        self.now = 1_760_000_000.0
        self.first = self.state = start("m1", "code", "Giao ban", start=1_760_000_000.0, **meeting)
        self.steps: list[tuple[Meeting, m.Recorded]] = []
        self.clients: dict[str | None, Meeting] = {viewer: view(self.state, viewer) for viewer in VIEWERS}
        self.away: dict[str | None, int] = {}
        """Viewers whose connection is down, and how many steps they had seen."""
        self.chairs_before = False

    def lose_connection(self, viewer: str | None) -> None:
        self.away.setdefault(viewer, len(self.steps))

    def resume(self, viewer: str | None) -> None:
        seen = self.away.pop(viewer, None)
        if seen is None:
            return
        events = missed(self.steps[seen:], viewer)
        if events is None:
            self.clients[viewer] = view(self.state, viewer)
        for event in events or ():
            self.clients[viewer] = follow(self.clients[viewer], event, viewer)
        self.check_view(viewer)

    # ---- what must hold ----------------------------------------------------------------------------------------------

    def act(self, actor: str, command: m.Command) -> tuple[m.Event, ...] | m.Refusal:
        self.now += 1.0
        decided = decide(self.state, actor, command, self.now)
        assert decide(self.state, actor, command, self.now) == decided
        assert allowed(self.state, actor, command) == (decided if isinstance(decided, m.Refusal) else None)
        self.check_own_view_tells(actor, command)
        self.check_wire(command)
        if isinstance(decided, m.Refusal):
            return decided
        before = self.state
        for event in decided:
            self.take(m.Recorded(self.state.seq + 1, self.now, actor, event))
        for p in self.state.participants.values():
            was = before.participants.get(p.id)
            if p.sources.microphone == "on" and (was is None or was.sources.microphone != "on"):
                own = actor == p.id and command == m.SetSource("microphone", "on")
                assert own or isinstance(command, m.CorrectSource), f"{command} of {actor} unmuted {p.id}"
        for viewer in VIEWERS:
            if viewer not in self.away:
                self.check_view(viewer)
        self.lobby_sees_nobody()
        self.nobody_is_on_without_the_right()
        self.the_last_chair_stays()
        self.the_room_is_of_those_in_it()
        return decided

    def take(self, recorded: m.Recorded) -> None:
        assert decode_event(json.loads(json.dumps(encode_event(recorded)))) == recorded
        before, self.state = self.state, apply(self.state, recorded)
        assert apply(self.state, recorded) is self.state, "what is applied twice counts once"
        self.steps.append((before, recorded))
        for viewer in VIEWERS:
            visible = visible_to(before, recorded, viewer)
            if visible is not None:
                self.check_visible(before, visible, viewer)
            if viewer in self.away:
                continue
            if visible is not None:
                self.clients[viewer] = follow(self.clients[viewer], visible, viewer)
            if needs_snapshot(before, recorded, viewer):
                self.clients[viewer] = view(self.state, viewer)

    def check_visible(self, before: Meeting, visible: m.Recorded, viewer: str | None) -> None:
        event: Any = visible.event
        for secret in ("account", "badge"):
            assert getattr(event, secret, None) is None
        if level(before, viewer) == "outside":
            assert isinstance(event, m.Ended) or event.participant == viewer
            assert visible.actor in (viewer, "server")
            assert getattr(event, "looks_like", None) is None or isinstance(event, m.Admitted)
        if isinstance(event, m.ChatSent) and event.to is not None:
            assert viewer in (event.sender, event.to)
        if isinstance(event, m.Knocked | m.Denied | m.Banned):
            assert level(before, viewer) == "staff" or event.participant == viewer

    def check_view(self, viewer: str | None) -> None:
        own = view(self.state, viewer)
        assert same(self.clients[viewer], own), f"{viewer} holds\n{self.clients[viewer]}\nnot\n{own}"
        assert view(own, viewer) == own
        assert decode_meeting(json.loads(json.dumps(encode_meeting(own)))) == own

    def check_own_view_tells(self, actor: str, command: m.Command) -> None:
        """Who is in the room, or waits, greys by its own view what the server would refuse."""
        own = self.state.participants.get(actor)
        if own is None or own.place not in ("lobby", "admitted") or isinstance(command, m.Ban):
            return  # a ban may reach others by an account or a badge, which no view holds
        assert allowed(view(self.state, actor), actor, command) == allowed(self.state, actor, command)

    def check_wire(self, command: m.Command) -> None:
        if not isinstance(command, m.Knock | m.Connect | m.Disconnect | m.Expire | m.CorrectSource | m.NewEpoch):
            assert decode_command(json.loads(json.dumps(encode_command(command)))) == command

    def lobby_sees_nobody(self) -> None:
        for p in self.state.knocking():
            own = view(self.state, p.id)
            assert set(own.participants) == {p.id}
            assert (own.chat, own.hands, own.floor, own.spotlight) == ((), (), None, None)

    def nobody_is_on_without_the_right(self) -> None:
        for p in self.state.participants.values():
            for source in SOURCES:
                if p.sources.get(source) == "on":
                    assert p.place == "admitted"
                    assert may_use(self.state, p, source) is None
            if self.state.permissions.microphone == "by_floor" and p.sources.microphone == "on":
                assert is_moderator(p) or (self.state.floor is not None and self.state.floor.participant == p.id)

    def the_last_chair_stays(self) -> None:
        chairs = [p for p in self.state.participants.values() if p.role == "chair" and p.place in ("admitted", "left")]
        assert chairs or not self.chairs_before
        self.chairs_before = bool(chairs)
        if chairs and self.state.state != "ended":
            gone = next((p for p in chairs if p.place == "left"), None)
            if gone is not None and gone.may_return and not any(p.place == "admitted" for p in chairs):
                assert allowed(self.state, gone.id, m.End()) is None

    def the_room_is_of_those_in_it(self) -> None:
        room = {p.id for p in self.state.admitted()}
        assert {hand.participant for hand in self.state.hands} <= room
        assert len({hand.participant for hand in self.state.hands}) == len(self.state.hands)
        assert self.state.floor is None or self.state.floor.participant in room
        assert self.state.spotlight is None or self.state.spotlight in room
        assert sum(1 for p in self.state.admitted() if p.role != "chair") <= self.state.capacity
        if self.state.state == "ended":
            assert not room
            assert not list(self.state.knocking())

    def check_log(self) -> None:
        replayed = self.first
        for _, recorded in self.steps:
            replayed = apply(replayed, recorded)
        assert replayed == self.state
        assert [recorded.seq for _, recorded in self.steps] == list(range(1, len(self.steps) + 1))
        for viewer in VIEWERS:
            assert missed(self.steps, viewer) is None or same(self.caught_up(viewer), view(self.state, viewer))

    def caught_up(self, viewer: str | None) -> Meeting:
        own = view(self.first, viewer)
        for event in missed(self.steps, viewer) or ():
            own = follow(own, event, viewer)
        return own


class MeetingMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize(lobby=st.booleans(), capacity=st.sampled_from((500, 500, 3)), guests=st.integers(0, 4))
    def open(self, lobby: bool, capacity: int, guests: int) -> None:
        self.world = World(lobby=lobby, capacity=capacity)
        self.world.act("server", m.Knock("p1", "An", role="chair", straight_in=True, account="a-p1"))
        for who in IDS[1 : 1 + guests]:
            self.world.act("server", m.Knock(who, who, badge=f"b-{who}", guest=True))
            self.world.act("server", m.Connect(who))
        self.world.act("p1", m.AdmitAll())

    @rule(actor=actors, command=MODERATING)
    def moderate(self, actor: str, command: m.Command) -> None:
        self.world.act(actor, command)

    @rule(command=MODERATING)
    def chair_moderates(self, command: m.Command) -> None:
        self.world.act("p1", command)

    @rule(actor=actors, command=SPEAKING)
    def speak(self, actor: str, command: m.Command) -> None:
        self.world.act(actor, command)

    @rule(command=SPEAKING)
    def chair_gives_word(self, command: m.Command) -> None:
        self.world.act("p1", command)

    @rule(actor=actors, command=OWN)
    def do_own(self, actor: str, command: m.Command) -> None:
        self.world.act(actor, command)

    @rule(command=SERVER)
    def serve(self, command: m.Command) -> None:
        self.world.act("server", command)

    @rule(knock=knocks())
    def knock(self, knock: m.Knock) -> None:
        self.world.act("server", knock)

    @rule(actor=actors, command=st.one_of(SERVER, knocks()))
    def not_the_server(self, actor: str, command: m.Command) -> None:
        if actor != "server":
            assert decide(self.world.state, actor, command, self.world.now) == m.Refusal("server_only")

    @precondition(lambda self: self.world.state.seq > 20)
    @rule(actor=actors)
    def end(self, actor: str) -> None:
        self.world.act(actor, m.End())

    @rule(viewer=st.sampled_from(VIEWERS))
    def lose_connection(self, viewer: str | None) -> None:
        self.world.lose_connection(viewer)

    @rule(viewer=st.sampled_from(VIEWERS))
    def resume(self, viewer: str | None) -> None:
        self.world.resume(viewer)

    def teardown(self) -> None:
        self.world.check_log()


MeetingMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
TestMeeting = MeetingMachine.TestCase


class Walk:
    """A plausible meeting by chance: mostly people who may, on people it concerns; sometimes anybody on anything."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        pick = self.random.choice
        self.world = World(lobby=pick((True, True, False)), capacity=pick((500, 500, 500, 4)))
        self.bans = pick((0.0, 0.05, 0.3))
        self.events: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()

    def run(self, commands: int) -> None:
        self.act("server", m.Knock("p1", "An", role="chair", straight_in=True, account="a-p1"))
        for _ in range(commands):
            if self.random.random() < 0.03:
                self.world.lose_connection(self.random.choice(VIEWERS))
            if self.random.random() < 0.06:
                self.world.resume(self.random.choice(VIEWERS))
            self.act(*self.next())
        self.act("server", m.End())
        self.act("server", m.Knock("p2", "Lại vào", account="a-p2"))
        for viewer in VIEWERS:
            self.world.resume(viewer)
        self.world.check_log()

    def act(self, actor: str, command: m.Command) -> None:
        decided = self.world.act(actor, command)
        if isinstance(decided, m.Refusal):
            self.refusals[decided.code] += 1
        else:
            self.events.update(event.name for event in decided)

    def someone(self, place: str) -> str:
        there = [p.id for p in self.world.state.participants.values() if p.place == place]
        return self.random.choice(there) if there and self.random.random() < 0.9 else self.random.choice((*IDS, "ghost"))

    def moderator(self) -> str:
        there = [p.id for p in self.world.state.admitted() if is_moderator(p)]
        return self.random.choice(there) if there and self.random.random() < 0.85 else self.random.choice((*IDS, "account:key"))

    def next(self) -> tuple[str, m.Command]:
        pick, chance = self.random.choice, self.random.random()
        inside, waiting = self.someone("admitted"), self.someone("lobby")
        gone = [p.id for p in self.world.state.participants.values() if p.place == "left" and p.may_return]
        if gone and self.random.random() < 0.4:  # or the room would soon be empty
            return "server", m.Knock(pick(gone), "Trở lại")
        if chance < 0.18:
            return self.next_of_server(inside)
        if chance < 0.5:
            source = pick((*SOURCES, "microphone", "microphone"))
            own: tuple[m.Command, ...] = (
                m.SetSource(source, pick(("on", "on", "muted", "off"))),
                m.SetSource("microphone", "on"),
                m.Chat(pick(("Kính thưa hội nghị", "\u202eĐồng ý", "  ", "x" * 4001)), pick((None, None, self.someone("admitted")))),
                m.Rename(pick(NAMES), pick((None, None, waiting, self.someone("admitted")))),
                m.RaiseHand(),
                m.LowerHand(),
                m.EndFloor(),
                m.React(pick(("👍", "no"))),
                m.SetConsent(pick((True, False))),
                m.Media(),
            )
            return pick((inside, inside, inside, waiting)), pick(own)
        if chance < 0.52:
            return pick((inside, waiting)), m.Leave()
        if chance < 0.53:
            return pick(("account:key", "ghost", waiting)), m.RaiseHand()
        source = pick((*SOURCES, "microphone", "chat"))
        moderating: tuple[m.Command, ...] = (
            m.Admit((waiting, self.someone("lobby"))),
            m.AdmitAll(),
            m.AdmitAll(),
            m.Deny((waiting,), "không có trong danh sách"),
            m.ToLobby((inside,)),
            m.Remove((pick((inside, waiting, self.someone("left"))),)),
            m.Lock(),
            m.Unlock(),
            m.Unlock(),
            m.SetRole(pick((inside, inside, waiting, self.someone("left"))), pick(ROLES), None),
            m.SetRole(inside, "delegate", pick((True, True, None, False))),
            m.SetRole(inside, "guest", True),
            m.Mute((inside,)),
            m.Mute(()),
            m.MuteAll((inside,)),
            m.StopCamera((inside,)),
            m.StopShare((inside,)),
            m.AskUnmute((inside, self.someone("admitted"))),
            m.SetPermission(source, pick(("all", "all", "moderators", "by_floor"))),
            m.GiveFloor(inside, pick((None, 60, 0))),
            m.GiveFloor(inside, 300),
            m.EndFloor(),
            m.RaiseHand((inside,)),
            m.RaiseHand((self.someone("admitted"), inside)),
            m.LowerHand((inside,)),
            m.MoveHand(inside, self.random.randrange(-1, 5)),
            m.Spotlight(pick((None, inside))),
            *((m.Ban((pick((inside, waiting, self.someone("removed"))),)),) if self.random.random() < self.bans else ()),
        )
        return self.moderator(), pick(moderating)

    def next_of_server(self, inside: str) -> tuple[str, m.Command]:
        pick = self.random.choice
        guest = self.random.random() < 0.5
        who = pick((pick(IDS), self.someone("left"), self.someone("removed"), self.someone("denied")))
        role = pick(("delegate", "delegate", "delegate", *ROLES))
        knock = m.Knock(
            participant=who,
            new_name=pick((*NAMES, f"Người {who}", f"Người {who}")),
            role=role,
            kind=pick(("person", "person", "person", "site", "site", "browser", "external")),
            guest=guest,
            account=None if guest else pick((f"a-{who}", f"a-{who}", "a-shared")),
            badge=f"b-{who}" if guest else None,
            straight_in=role != "delegate" and self.random.random() < 0.7,
        )
        return "server", pick(
            (
                knock,
                knock,
                knock,
                m.Connect(inside),
                m.Connect(who),
                m.Disconnect(inside, pick((None, None, 1))),
                m.Expire(inside),
                m.Expire(who),
                m.CorrectSource(inside, pick(SOURCES), pick(("on", "muted", "off"))),
                m.NewEpoch(),
            )
        )


def test_walks_meet_everything() -> None:
    events: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    for seed in range(40):
        walk = Walk(seed)
        walk.run(300)
        events += walk.events
        refusals += walk.refusals
    assert set(events) == set(EVENTS), "the walks should see every event"
    of_the_wire_or_too_long_to_walk = {"malformed", "too_large", "too_many_changes", "unknown_command", "chat_full", "chat_share_full", "server_only"}
    assert set(refusals) == set(REFUSALS) - of_the_wire_or_too_long_to_walk
