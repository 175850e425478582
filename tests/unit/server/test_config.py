"""Settings: strict, and every error names the key and says what to do."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidconf.server.config import Config, ConfigError, Limits, MediaConfig, Tls, load, tls_context


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "server.toml"


def loaded(file: Path, text: str, **told: Any) -> Config:
    file.write_text(text, encoding="utf-8")
    return load(file, **told)


def refused(file: Path, text: str, **told: Any) -> str:
    with pytest.raises(ConfigError) as error:
        loaded(file, text, **told)
    return str(error.value)


def certificate(folder: Path, passphrase: bytes = b"") -> tuple[Path, Path]:
    """A self-signed certificate and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "meet.example.gov.vn")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    )  # fmt: skip
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    folder.mkdir(exist_ok=True)
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    return folder / "cert.pem", folder / "key.pem"


# ---- what is said and what is not ------------------------------------------------------------------------------------


def test_without_a_file_it_listens_on_this_machine_only() -> None:
    config = load(None)
    assert (config.host, config.port, config.presence_s, config.behind_proxy) == ("127.0.0.1", 8080, 30.0, False)
    assert config.loopback()
    assert config == Config()


def test_every_key_of_the_file_is_taken(file: Path, tmp_path: Path) -> None:
    config = loaded(
        file,
        f"""
        host = "0.0.0.0"
        port = 9000
        data = "{tmp_path}"
        public_url = "https://meet.example.gov.vn"
        behind_proxy = true
        proxies = ["10.1.2.3", "2001:db8::/64"]
        allowed_origins = ["https://portal.example.gov.vn"]
        presence_s = 20
        log_level = "debug"

        [media]
        url = "wss://sfu.example.gov.vn"
        api_url = "http://127.0.0.1:7880"
        api_key = "key"
        api_secret = "{"s" * 32}"
        udp_host = "10.0.0.5"
        udp_port = 7882
        tcp_port = 7881
        announce = ["203.0.113.5"]
        relay = false
        ice_servers = [{{ urls = ["turn:turn.example.gov.vn"], username = "u", credential = "c" }}]

        [limits]
        failures_per_minute = 5
        commands_per_second = 10
        chat_per_second = 1.5
        changes_per_second = 0.5
        message_bytes = 4096
        queue_frames = 64
        capacity = 40
        """,
    )
    assert config == Config(
        host="0.0.0.0", port=9000, data=tmp_path, public_url="https://meet.example.gov.vn", behind_proxy=True,
        proxies=("10.1.2.3", "2001:db8::/64"),
        allowed_origins=("https://portal.example.gov.vn",), presence_s=20.0, log_level="debug",
        media=MediaConfig(
            url="wss://sfu.example.gov.vn", api_url="http://127.0.0.1:7880", api_key="key", api_secret="s" * 32, udp_host="10.0.0.5",
            udp_port=7882, tcp_port=7881, announce=("203.0.113.5",), relay=False,
            ice_servers=({"urls": ["turn:turn.example.gov.vn"], "username": "u", "credential": "c"},),
        ),
        limits=Limits(5, 10.0, 1.5, 0.5, 4096, 64, 40),
    )  # fmt: skip


def test_the_command_line_wins_where_it_says_something(file: Path, tmp_path: Path) -> None:
    text = 'port = 9000\nhost = "127.0.0.2"\n'
    assert loaded(file, text, host=None, port=None, data=None).port == 9000
    config = loaded(file, text, host="127.0.0.3", port=0, data=tmp_path)
    assert (config.host, config.port, config.data) == ("127.0.0.3", 0, tmp_path)
    assert "host 0.0.0.0" in refused(file, text, host="0.0.0.0")


def test_a_home_folder_is_understood(file: Path) -> None:
    assert loaded(file, 'data = "~/meetings"').data == Path.home() / "meetings"


# ---- errors ----------------------------------------------------------------------------------------------------------

WRONG = [
    ("prot = 80", ["prot", "unknown key", "port"]),
    ("[tsl]\ncert = 'x'", ["tsl", "unknown key", "tls"]),
    ("[limits]\ncapacty = 3", ["limits.capacty", "unknown key", "capacity"]),
    ("[media]\nkey = 'x'", ["media.key", "unknown key", "api_key"]),
    ("[tls]\npassword = 'x'", ["tls.password", "unknown key", "cert"]),
    ("media = 'wss://sfu'", ["media", "[media]"]),
    ("port = '80'", ["port", "int", "'80'"]),
    ("port = 80.5", ["port", "int"]),
    ("port = true", ["port", "int"]),
    ("port = -1", ["port", "65535"]),
    ("port = 65536", ["port", "65535"]),
    ("host = 5", ["host", "str"]),
    ("data = 5", ["data", "a path"]),
    ("behind_proxy = 1", ["behind_proxy", "bool"]),
    ("behind_proxy = 'yes'", ["behind_proxy", "bool"]),
    ("allowed_origins = 'https://a'", ["allowed_origins", "list of texts"]),
    ("allowed_origins = [1]", ["allowed_origins", "list of texts"]),
    ("behind_proxy = true\nproxies = ['10.1.2.0/33']", ["proxies", "10.1.2.0/24"]),
    ("behind_proxy = true\nproxies = ['front']", ["proxies", "'front'"]),
    ("proxies = ['10.1.2.3']", ["proxies", "behind_proxy"]),
    ("presence_s = 0", ["presence_s", "at least 1"]),
    ("presence_s = nan", ["presence_s", "number"]),
    ("presence_s = inf", ["presence_s", "number"]),
    ("presence_s = true", ["presence_s", "float"]),
    ("log_level = 'loud'", ["log_level", "debug, info, warning or error"]),
    *((f"[limits]\n{key} = 0", [f"limits.{key}", "more than 0"]) for key in ("failures_per_minute", "commands_per_second", "capacity")),
    *((f"[limits]\n{key} = 0", [f"limits.{key}", "more than 0"]) for key in ("chat_per_second", "changes_per_second", "message_bytes", "queue_frames")),
    ("[limits]\ncommands_per_second = nan", ["limits.commands_per_second", "number"]),
    ("[limits]\nchat_per_second = inf", ["limits.chat_per_second", "number"]),
    ("[media]\nudp_port = 70000", ["media.udp_port", "65535"]),
    ("[media]\nurl = 'sfu.example'\napi_key = 'k'\napi_secret = 's'", ["media.url", "wss://"]),
    ("[media]\nurl = 'wss://['\napi_key = 'k'\napi_secret = 's'", ["media.url", "wss://"]),
    ("[media]\nurl = 'wss://sfu.example'", ["api_key", "api_secret"]),
    ("[media]\nurl = 'wss://sfu.example'\napi_key = 'k'\napi_secret = 'short'", ["media.api_secret", "32"]),
    (f"[media]\nurl = 'wss://s'\napi_key = 'k'\napi_secret = '{'s' * 32}'\napi_url = 'ws://s'", ["media.api_url", "http://"]),
    (f"[media]\nurl = 'wss://s'\napi_key = 'k'\napi_secret = '{'s' * 32}'\napi_url = 'http://['", ["media.api_url", "http://"]),
    ("[media]\nice_servers = ['turn:host']", ["media.ice_servers", "urls"]),
    ("[media]\nice_servers = [{url = 'turn:host'}]", ["media.ice_servers", "urls"]),
    ("[media]\nice_servers = [{urls = [1]}]", ["media.ice_servers", "urls"]),
    ("[media]\nice_servers = [{urls = ['turn:h'], user = 'x'}]", ["media.ice_servers", "username"]),
    ("[media]\nice_servers = [{urls = ['turn:h'], secret = 's', username = 'x'}]", ["media.ice_servers", "secret"]),
    ("[media]\nice_servers = [{urls = ['turn:h'], secret = ''}]", ["media.ice_servers", "secret"]),
    ("[media]\ntcp_port = -1", ["media.tcp_port", "65535"]),
    *((f"public_url = '{url}'", ["public_url", "https://meet.example.gov.vn"]) for url in (
        "meet.example", "ftp://meet.example", "https://", "https://meet.example/path", "https://meet.example/?q", "https://meet.example/#f",
        "https://[", "https://meet.example:port", "https://user@meet.example",
    )),
    ("[tls]\ncert = 'cert.pem'", ["[tls]", "cert and key"]),
    ("[tls]\nkey = 'key.pem'", ["[tls]", "cert and key"]),
    ("port = 1\nport = 2", ["server.toml"]),
    ("port = ", ["server.toml"]),
    ("= = =", ["server.toml", "line 1"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_an_error_names_the_key_and_says_what_to_do(file: Path, text: str, said: list[str]) -> None:
    message = refused(file, text)
    assert [word for word in said if word not in message] == [], message


def test_a_file_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.toml", "No such file"), (tmp_path, "directory")):
        with pytest.raises(ConfigError, match=why):
            load(path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="binary"):
        load(tmp_path / "binary.toml")


keys = st.sampled_from(("host", "port", "data", "public_url", "behind_proxy", "allowed_origins", "presence_s", "log_level", "tls", "media", "x"))
words = st.one_of(
    st.sampled_from(("true", "nan", "-inf", "0", "-7", "1e400", "'::1'", "'https://['", "'wss://]'", "[]", "[[]]", "{}", "{cert = 'a', key = 'b'}")),
    st.integers().map(str), st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.text(st.characters(min_codepoint=32, exclude_categories=("Cs",), exclude_characters="'\x7f"), max_size=12).map("'{}'".format),
)  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(keys, words, max_size=4))
def test_any_file_is_settings_or_an_error_of_ours(file: Path, given_: dict[str, str]) -> None:
    file.write_text("\n".join(f"{key} = {word}" for key, word in given_.items()), encoding="utf-8")
    try:
        config = load(file)
    except ConfigError:
        return
    assert 0 <= config.port <= 65535
    assert math.isfinite(config.presence_s)


# ---- who can reach it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.1.2.3", "meet.example.gov.vn", "192.0.2.1", "[::1]"])
def test_an_address_others_reach_needs_tls_or_a_front(file: Path, tmp_path: Path, host: str) -> None:
    message = refused(file, f"host = '{host}'")
    assert all(word in message for word in ("[tls]", "behind_proxy = true", "127.0.0.1"))
    assert loaded(file, f"host = '{host}'\nbehind_proxy = true").host == host
    cert, key = certificate(tmp_path)
    assert loaded(file, f"host = '{host}'\n[tls]\ncert = '{cert}'\nkey = '{key}'").tls == Tls(str(cert), str(key))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_an_address_of_this_machine_needs_neither(file: Path, host: str) -> None:
    assert loaded(file, f"host = '{host}'").loopback()


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:80"), ("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80"), ("::1", "http://[::1]:80"),
     ("", "http://127.0.0.1:80"), ("10.0.0.5", "http://10.0.0.5:80"), ("meet.example", "http://meet.example:80")],
)  # fmt: skip
def test_the_local_url_can_be_called(host: str, url: str) -> None:
    assert Config(host=host).local_url(80) == url
    assert Config(host=host, tls=Tls("c", "k")).local_url(80) == url.replace("http", "https")


# ---- certificates ----------------------------------------------------------------------------------------------------


def with_tls(cert: Path, key: Path) -> str:
    return f"[tls]\ncert = '{cert}'\nkey = '{key}'"


def test_certificates_that_cannot_be_used_are_said_so(file: Path, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "one")
    _, other = certificate(tmp_path / "other")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nxxxx\n-----END CERTIFICATE-----\n")
    for pair in ((tmp_path / "none.pem", key), (cert, tmp_path / "none.pem"), (cert, other), (garbage, key), (cert, garbage), (key, cert), (tmp_path, key)):
        assert refused(file, with_tls(*pair)).startswith("[tls]: ")
    assert tls_context(loaded(file, with_tls(cert, key))) is not None
    assert tls_context(Config()) is None


CHECK = """
import sys
from pathlib import Path
from vidconf.server.config import ConfigError, load
try:
    load(Path(sys.argv[1]))
except ConfigError as error:
    print(error)
"""


def test_a_key_with_a_passphrase_is_an_error_and_no_question(file: Path, tmp_path: Path) -> None:
    """A service that is started by the system has nobody to ask. In a session of its own: OpenSSL asks the terminal itself."""
    file.write_text(with_tls(*certificate(tmp_path / "one", b"passphrase")))
    asked = subprocess.run(
        [sys.executable, "-c", CHECK, str(file)], input="passphrase\n", capture_output=True, text=True, timeout=20, start_new_session=True, check=True
    )
    assert "[tls]" in asked.stdout
    assert "passphrase" in asked.stdout
    assert "phrase" not in asked.stderr, "it was asked for"
