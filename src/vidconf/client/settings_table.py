"""Every setting once: its name, kind, default, and the name administrators know it by. Pure; any thread.

Everything that speaks of settings is made from this table: what `client/settings.py` reads and locks, and by
`packaging/policies/generate` the templates for group policy, the JSON schema, the samples and the table of the documentation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vidconf.client.links import LinkError, parse_origin

ValueKind = Literal["switch", "text", "choice", "number", "list", "map", "origin"]
TEXT_LIMIT = 2048
ITEMS_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Setting:
    """`policy`: its name for administrators, "" where policy has no say; what it means to them: `client/policies/texts.py`. `hidden`:
    kept, not shown on a settings page, so that nobody recommends it. `whole`: a number without a part."""

    key: str
    kind: ValueKind
    default: Any
    policy: str = ""
    choices: tuple[str, ...] = ()
    least: float = 0
    most: float = math.inf
    whole: bool = True
    hidden: bool = False
    group: str = "general"


_ALL = (
    Setting("server", "origin", "", "ServerURL", group="server"),
    Setting("server_locked", "switch", False, "ServerURLLocked", hidden=True, group="server"),
    Setting("allowed_servers", "list", (), "AllowedServers", group="server"),
    Setting("password_login", "switch", True, "AllowPasswordLogin", hidden=True, group="server"),
    Setting("guest_join", "switch", True, "GuestJoin", hidden=True, group="server"),
    Setting("keep_signed_in", "switch", True, "AllowSavedCredentials", group="server"),
    Setting("language", "choice", "vi", "Language", ("vi", "en")),
    Setting("theme", "choice", "system", "Theme", ("system", "light", "dark")),
    Setting("name", "text", "", hidden=True),
    Setting("start_muted", "switch", False, "MuteOnJoin", group="sound"),
    Setting("camera_off_on_join", "switch", True, "VideoOffOnJoin", group="video"),
    Setting("microphone", "text", "default", "DefaultMicrophone", group="sound"),
    Setting("speaker", "text", "default", "DefaultSpeaker", group="sound"),
    Setting("echo_cancellation", "switch", True, "EchoCancellation", group="sound"),
    Setting("noise_suppression", "switch", True, "NoiseSuppression", group="sound"),
    Setting("gain_control", "switch", True, "GainControl", group="sound"),
    Setting("dtx", "switch", False, "SilenceUnsent", group="sound"),
    Setting("camera", "text", "default", "DefaultCamera", group="video"),
    Setting("stage_renderer", "choice", "auto", "StageRenderer", ("auto", "gpu", "raster"), group="video"),
    Setting("max_video_height", "number", 0, "MaxVideoHeight", least=0, most=2160, hidden=True, group="video"),
    Setting("max_kbps", "number", 0, "MaxKbps", least=0, most=100_000, hidden=True, group="video"),
    Setting("no_screen_share", "switch", False, "DisableScreenShare", hidden=True, group="meeting"),
    Setting("no_chat", "switch", False, "DisableChat", hidden=True, group="meeting"),
    Setting("sounds", "switch", True, "Sounds", group="sound"),
    Setting("close_to_tray", "switch", True, "MinimizeToTray"),
    Setting("confirm_leave", "switch", True, "ConfirmLeave"),
    Setting("lobby_timeout_s", "number", 0, "LobbyTimeout", least=0, most=86400, whole=False),
    Setting("log_level", "choice", "info", "LogLevel", ("debug", "info", "warning", "error"), group="logs"),
    Setting("log_dir", "text", "", "LogDir", hidden=True, group="logs"),
    Setting("log_days", "number", 14, "LogDays", least=1, most=365, hidden=True, group="logs"),
    Setting("crash_reports", "switch", False, "CrashReports", hidden=True, group="logs"),
    Setting("autostart", "switch", False, "AutoStart"),
    Setting("update_mode", "choice", "notify", "UpdateMode", ("off", "notify", "auto"), hidden=True, group="updates"),
    Setting("update_url", "text", "", "UpdateURL", hidden=True, group="updates"),
    Setting("min_version", "text", "", "MinVersion", hidden=True, group="updates"),
    Setting("proxy_mode", "choice", "system", "ProxyMode", ("system", "none", "manual"), hidden=True, group="network"),
    Setting("proxy_server", "text", "", "ProxyServer", hidden=True, group="network"),
    Setting("proxy_bypass", "list", (), "ProxyBypass", hidden=True, group="network"),
    Setting("ice_transport", "choice", "all", "IceTransport", ("all", "relay", "relay_tls"), hidden=True, group="network"),
    Setting("turn_urls", "list", (), "TurnURLs", hidden=True, group="network"),
    Setting("udp_port_min", "number", 0, "UdpPortMin", least=0, most=65535, hidden=True, group="network"),
    Setting("udp_port_max", "number", 0, "UdpPortMax", least=0, most=65535, hidden=True, group="network"),
    Setting("dscp", "number", 0, "Dscp", least=0, most=63, hidden=True, group="network"),
    Setting("ca_file", "text", "", "CAFile", hidden=True, group="network"),
    Setting("tls_min", "choice", "1.2", "TLSMin", ("1.2", "1.3"), hidden=True, group="network"),
    Setting("shortcuts", "map", {}, group="keyboard"),
    Setting("known_servers", "list", (), hidden=True),
    Setting("badges", "map", {}, hidden=True),
    Setting("device_names", "map", {}, hidden=True),
    Setting("window", "map", {}, hidden=True),
)
SETTINGS: Mapping[str, Setting] = {setting.key: setting for setting in _ALL}
"""Every setting by its key. `badges`: a guest's badge by server; `known_servers`: origins used before; `device_names`: what the chosen
devices are called; all are memory."""

BY_POLICY = {setting.policy: setting for setting in _ALL if setting.policy}


class SettingError(ValueError):
    """A value that is none of the setting's, or a locked setting. `code`: `setting_invalid`, `setting_locked`, `setting_unknown`."""

    def __init__(self, code: str, key: str) -> None:
        super().__init__(f"{code}: {key}")
        self.code, self.key = code, key


def checked(setting: Setting, value: Any) -> Any:
    """`value` as this setting keeps it. Raises `SettingError`."""
    match setting.kind:
        case "switch" if isinstance(value, bool):
            return value
        case "switch" if isinstance(value, int) and value in (0, 1):
            return bool(value)
        case "text" if isinstance(value, str) and len(value) <= TEXT_LIMIT and "\x00" not in value:
            return value
        case "choice" if isinstance(value, str) and value in setting.choices:
            return value
        case "origin" if isinstance(value, str):
            try:
                return parse_origin(value) if value else ""
            except LinkError:
                raise SettingError("setting_invalid", setting.key) from None
        case "number" if isinstance(value, int | float) and not isinstance(value, bool) and setting.least <= value <= setting.most:
            if not setting.whole:
                return value
            if value % 1 == 0:
                return int(value)
        case "list" if isinstance(value, list | tuple) and len(value) <= ITEMS_LIMIT and all(_short(one) for one in value):
            return tuple(value)
        case "map" if isinstance(value, Mapping) and len(value) <= ITEMS_LIMIT and all(_short(k) and _short(v) for k, v in value.items()):
            return dict(value)
    raise SettingError("setting_invalid", setting.key)


def _short(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_LIMIT
