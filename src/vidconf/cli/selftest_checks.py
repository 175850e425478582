"""The checks of `vidconf selftest`, each run in a child process (`parts.py`). A check says what it found by `put`, as it finds it."""

from __future__ import annotations

import array
import importlib
import importlib.metadata
import itertools
import math
import os
import random
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidconf import licences, words
from vidconf.cli.findings import Finding, Status
from vidconf.cli.parts import Put
from vidconf.resources import resource

CLIENT_PACKAGES = (
    ("PySide6-Essentials", "PySide6.QtWidgets"), ("qasync", ""), ("aiohttp", "aiohttp"), ("msgspec", "msgspec"), ("aiortc", "aiortc"),
    ("aioice", "aioice"), ("pylibsrtp", "pylibsrtp"), ("av", "av"),
    ("livekit-protocol", "livekit.protocol.rtc"), ("keyring", "keyring"), ("truststore", "truststore"), ("platformdirs", "platformdirs"),
    ("click", "click"), ("rich", "rich.console"), ("psutil", "psutil"), ("tuf", "tuf.ngclient"), ("securesystemslib", "securesystemslib.signer"),
    *(() if sys.platform == "linux" else (("sounddevice", "sounddevice"),)),
)  # fmt: skip
"""(distribution, module to import). qasync is looked for only: it settles for a Qt binding when it is imported."""
OPTIONAL_PACKAGES = ("uvloop", "numpy")
"""numpy last: on a very old processor it ends the process."""
USED_PACKAGES = ("pywebrtc-audio",)
"""Not looked for but used: `voice`."""
SERVER_PACKAGES = (
    ("SQLAlchemy", "sqlalchemy.ext.asyncio"), ("alembic", "alembic"), ("aiosqlite", "aiosqlite"), ("argon2-cffi", "argon2"),
    ("joserfc", "joserfc.jwt"), ("prometheus-client", "prometheus_client"),
)  # fmt: skip
QT_VERSION = (6, 11)
KEYRING_S = 6.0
WIDTH, HEIGHT, PICTURES = 640, 360, 20
WORST_DIFFERENCE = 12.0
"""Mean difference of brightness (of 255) between a picture and what came back; two unrelated ones differ by 60 and more."""
TONE_HZ, BLOCKS = 440, 50
ECHO_BLOCK, ECHO_BLOCKS = 960, 200


# ---- packages -------------------------------------------------------------------------------------------------------


def packages(put: Put, told: Mapping[str, Any]) -> None:
    """Everything the program imports from others."""
    good: list[str] = []
    bad = 0
    for name, module in CLIENT_PACKAGES:
        version, problem = _imported(name, module)
        if problem is None:
            good.append(f"{name} {version}")
            continue
        bad += 1
        put(Finding("selftest.packages", "failure", problem[0], {"name": name, "reason": problem[1]}))
    if not bad:
        put(Finding("selftest.packages", "ok", "all", {"count": len(good), "packages": good}))
    for name in OPTIONAL_PACKAGES:
        version, problem = _imported(name, name)
        if problem is None:
            put(Finding(f"selftest.{name}", "ok", "here", {"version": version}))
        elif name == "uvloop" and sys.platform == "win32":
            put(Finding("selftest.uvloop", "ok", "windows", {}))
        else:
            # the engine runs on uvloop; without numpy it leaves sound as it is
            status: Status = "failure" if name == "uvloop" else "warning"
            put(Finding(f"selftest.{name}", status, problem[0], {"name": name, "reason": problem[1]}))
    put(_server_part())


def _server_part() -> Finding:
    found = [(name, *_imported(name, module)) for name, module in SERVER_PACKAGES]
    broken = [(name, problem[1]) for name, _, problem in found if problem is not None and problem[0] == "broken"]
    missing = [name for name, _, problem in found if problem is not None and problem[0] == "missing"]
    if broken:
        return Finding("selftest.server", "warning", "broken", {"name": broken[0][0], "reason": broken[0][1]})
    if missing:
        return Finding("selftest.server", "ok", "absent", {"missing": missing})
    return Finding("selftest.server", "ok", "here", {"packages": [f"{name} {version}" for name, version, _ in found]})


def _imported(name: str, module: str) -> tuple[str, tuple[str, str] | None]:
    """(version, None), or ("", (missing | broken, why))."""
    try:
        loaded = importlib.import_module(module) if module else None
        version = _version(name, loaded)
    except importlib.metadata.PackageNotFoundError:
        return "", ("missing", name)
    except ModuleNotFoundError as error:
        mine = bool(error.name) and (module == error.name or module.startswith(f"{error.name}."))
        return "", ("missing" if mine else "broken", str(error))
    except Exception as error:  # a library that is not for this system says so in its own ways
        return "", ("broken", f"{type(error).__name__}: {error}")
    return version, None


def _version(name: str, module: Any) -> str:
    """By the package's metadata; an installation that carries none is asked itself."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        if module is None:
            raise
        return str(getattr(module, "__version__", "?"))


# ---- media ----------------------------------------------------------------------------------------------------------


def media(put: Put, told: Mapping[str, Any]) -> None:
    """Codecs and shared memory, one after the other: what takes the process with it takes only what comes after (numpy, on a
    very old processor)."""
    for code, check in (("selftest.opus", opus), ("selftest.vp8", vp8), ("selftest.ring", ring), ("selftest.voice", voice)):
        try:
            put(check())
        except Exception as error:  # whatever a codec or the system raises is this line's result
            put(Finding(code, "failure", "broken", {"reason": f"{type(error).__name__}: {error}"}))


def opus() -> Finding:
    """A second of a tone there and back: it must come out as loud and as high, and a lost block must be concealed."""
    from vidconf.engine.codecs import opus as codec

    encoder, decoder = codec.OpusEncoder(), codec.OpusDecoder()
    count = codec.BLOCK
    samples = array.array("h", (int(10_000 * math.sin(math.tau * TONE_HZ * k / codec.RATE_HZ)) for k in range(count * BLOCKS)))
    began, size, heard = time.perf_counter(), 0, array.array("h")
    for block in range(BLOCKS):
        packet = encoder.encode(samples[block * count : (block + 1) * count].tobytes())
        size += len(packet)
        heard.frombytes(decoder.decode(packet) if packet else decoder.conceal())
    spent = time.perf_counter() - began
    late = heard[len(heard) // 2 :]  # the codec's own delay and its first blocks left out
    loud = math.sqrt(sum(v * v for v in late) / max(1, len(late))) / (10_000 / math.sqrt(2))
    crossings = sum(a < 0 <= b for a, b in itertools.pairwise(late))
    pitch = crossings * codec.RATE_HZ / max(1, len(late))
    detail = {"kbps": round(size * 8 / (BLOCKS * 20)), "ms": round(1000 * spent / BLOCKS, 2)}
    if not 0.5 < loud < 1.5 or abs(pitch - TONE_HZ) > 0.05 * TONE_HZ or len(decoder.conceal()) != codec.BLOCK_BYTES:
        return Finding("selftest.opus", "failure", "wrong", {"loud": round(loud, 2), "pitch": round(pitch), **detail})
    if not decoder.conceals:
        return Finding("selftest.opus", "warning", "no_concealment", detail)
    return Finding("selftest.opus", "ok", "works", detail)


def voice() -> Finding:
    """Four seconds of a noise out of the loudspeaker and, a tenth of a second later, into the microphone: it must be gone."""
    from vidconf.engine import far_end
    from vidconf.engine import voice as processing
    from vidconf.engine.api import SetVoice

    if name := processing.missing():
        return Finding("selftest.voice", "warning", "missing", {"name": name})
    chance, far = random.Random(1), far_end.FarEnd()
    made, block_bytes = processing.Voice(far, SetVoice(gain_control=False)), 2 * ECHO_BLOCK
    played = b"".join(array.array("h", (int(chance.gauss(0, 3000)) for _ in range(ECHO_BLOCK))).tobytes() for _ in range(ECHO_BLOCKS))
    heard, left, spent = array.array("h"), array.array("h"), 0.0
    for block in range(5, ECHO_BLOCKS):
        at = 100.0 + block * ECHO_BLOCK / processing.RATE_HZ
        far.played(played[block * block_bytes : (block + 1) * block_bytes], at)
        echo = array.array("h", (v // 3 for v in memoryview(played).cast("h")[(block - 5) * ECHO_BLOCK : (block - 4) * ECHO_BLOCK]))
        began = time.perf_counter()
        clean = made.process(echo.tobytes(), at)
        spent += time.perf_counter() - began
        if block > ECHO_BLOCKS // 2:
            heard += echo
            left.frombytes(clean)
    loss_db = 10 * math.log10(sum(v * v for v in heard) / (sum(v * v for v in left) + 1))
    detail = {"loss_db": round(loss_db), "ms": round(1000 * spent / ECHO_BLOCKS, 2)}
    return Finding("selftest.voice", "ok" if loss_db > 15 else "failure", "works" if loss_db > 15 else "wrong", detail)


def vp8() -> Finding:
    """Pictures that move, there and back: they must come out alike."""
    import av

    from vidconf.engine.codecs.encoders import encoder_for
    from vidconf.engine.codecs.vp8 import PyAvVp8Encoder, Vp8Decoder

    encoder, decoder = encoder_for("vp8", WIDTH, HEIGHT, 30, 800_000), Vp8Decoder()
    encode_s = decode_s = 0.0
    shown, difference = 0, 0.0
    for number in range(PICTURES):
        picture = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        luma = _slope(picture.planes[0].line_size, HEIGHT, 4 * number)
        picture.planes[0].update(luma)
        for plane in picture.planes[1:]:
            plane.update(bytes([128]) * plane.buffer_size)
        before = time.perf_counter()
        data = encoder.encode(picture, keyframe=number == 0)
        between = time.perf_counter()
        back = decoder.decode(data) if data else None
        encode_s, decode_s = encode_s + between - before, decode_s + time.perf_counter() - between
        if back is not None:
            shown += 1
            difference = max(difference, _difference(luma, picture.planes[0].line_size, bytes(back.planes[0]), back.planes[0].line_size))
    detail = {"encode_ms": round(1000 * encode_s / PICTURES, 1), "decode_ms": round(1000 * decode_s / PICTURES, 1), "pictures": shown}
    if shown < PICTURES // 2 or difference > WORST_DIFFERENCE:
        return Finding("selftest.vp8", "failure", "wrong", {"difference": round(difference, 1), **detail})
    if isinstance(encoder, PyAvVp8Encoder):
        return Finding("selftest.vp8", "warning", "not_steered", detail)
    return Finding("selftest.vp8", "ok", "works", detail)


def _slope(stride: int, height: int, shift: int) -> bytes:
    """Brightness that rises to the right and wanders."""
    row = bytes(min(255, 16 + (x + shift) % 640 * 220 // 640) for x in range(stride))
    return row * height


def _difference(sent: bytes, sent_stride: int, got: bytes, got_stride: int) -> float:
    points = [(x, y) for y in range(4, HEIGHT, 24) for x in range(4, WIDTH, 24)]
    return sum(abs(sent[y * sent_stride + x] - got[y * got_stride + x]) for x, y in points) / len(points)


def ring() -> Finding:
    """A picture through shared memory, as from the engine to the window."""
    from vidconf.engine.frame_ring import RingReader, RingWriter, bgrx_bytes

    width, height = 320, 180
    picture = bytes(k % 251 for k in range(bgrx_bytes(width, height, 4 * width)))
    writer = RingWriter(len(picture))
    try:
        reader = RingReader(writer.name)
        try:
            written = writer.write_bgrx(picture, width, height, 4 * width)
            frame = reader.newest() if written else None
            same = frame is not None and (frame.width, frame.height) == (width, height) and bytes(frame.data[: len(picture)]) == picture
            del frame
        finally:
            reader.close()
    finally:
        writer.close()
    return Finding("selftest.ring", "ok", "works", {}) if same else Finding("selftest.ring", "failure", "wrong", {})


# ---- the window -----------------------------------------------------------------------------------------------------


def window(put: Put, told: Mapping[str, Any]) -> None:
    """Qt on the platform at hand, with the program's own font and icon."""
    from PySide6 import __version__ as binding
    from PySide6.QtCore import QLibraryInfo, qVersion
    from PySide6.QtGui import QFontDatabase
    from PySide6.QtSvg import QSvgRenderer
    from PySide6.QtWidgets import QApplication, QLabel

    if sys.platform == "linux":
        put(_input_method(Path(QLibraryInfo.path(QLibraryInfo.LibraryPath.PluginsPath))))
    app = QApplication(["vidconf"])
    detail: dict[str, Any] = {"qt": qVersion(), "binding": binding, "platform": app.platformName(), "screens": len(app.screens())}
    label = QLabel("Tiếng Việt")
    picture = label.grab().toImage()
    if tuple(int(part) for part in qVersion().split(".")[:2]) != QT_VERSION:
        put(Finding("selftest.qt", "failure", "version", detail))
    elif QFontDatabase.addApplicationFont(str(resource("fonts", "NotoSans-Regular.ttf"))) < 0:
        put(Finding("selftest.qt", "failure", "font", detail))
    elif not QSvgRenderer(str(resource("icons", "vidconf.svg"))).isValid():
        put(Finding("selftest.qt", "failure", "icon", detail))
    elif picture.isNull():
        put(Finding("selftest.qt", "failure", "paints_nothing", detail))
    elif told.get("no_display"):
        put(Finding("selftest.qt", "warning", "no_display", detail))
    else:
        put(Finding("selftest.qt", "ok", "starts", detail))


def _input_method(plugins: Path) -> Finding:
    """How Vietnamese is typed: the input method's plugin must be one that this Qt has, or no letter gets its accent."""
    name = os.environ.get("QT_IM_MODULE", "")
    there = plugins / "platforminputcontexts" / f"lib{name.split(';')[0]}platforminputcontextplugin.so"
    if not name or name in ("none", "simple", "xim", "compose"):
        return Finding("selftest.input_method", "ok", "system", {})
    found = "named" if there.is_file() else "missing"
    return Finding("selftest.input_method", "ok" if found == "named" else "warning", found, {"name": name})


# ---- the system -----------------------------------------------------------------------------------------------------


def resources(put: Put, told: Mapping[str, Any]) -> None:
    """The program's own files."""
    missing: list[str] = []
    for parts in (
        ("fonts", "NotoSans-Regular.ttf"), ("fonts", "NotoSans-Bold.ttf"), ("icons", "vidconf.svg"), ("icons", "mic.svg"),
        ("web", "link.html"), ("words", "vi.json"), ("words", "en.json"), ("words", "policies.vi.json"), ("words", "policies.en.json"),
    ):  # fmt: skip
        try:
            if not resource(*parts).stat().st_size:
                missing.append("/".join(parts))
        except OSError:
            missing.append("/".join(parts))
    if missing:
        put(Finding("selftest.resources", "failure", "missing", {"missing": missing}))
        return
    vi, en = (set(words.table(language)) for language in words.LANGUAGES)
    if vi != en or not vi:
        put(Finding("selftest.resources", "failure", "words_differ", {"missing": sorted(vi ^ en)}))
        return
    icons = len(list(resource("icons").glob("*.svg")))
    put(Finding("selftest.resources", "ok", "all", {"words": len(vi), "icons": icons}))


def components(put: Put, told: Mapping[str, Any]) -> None:
    """Whether the licences of all that ships can be shown: packaging likes to leave metadata out."""
    found = licences.components()
    without = [one.name for one in found if not one.text()]
    if without or not any(one.name == "PySide6_Essentials" for one in found):
        put(Finding("selftest.licences", "warning", "missing", {"missing": without or ["*.dist-info"]}))
    else:
        put(Finding("selftest.licences", "ok", "all", {"count": len(found)}))


def sqlite(put: Put, told: Mapping[str, Any]) -> None:
    """The server's database on one machine; the window needs none."""
    try:
        import sqlite3
    except ImportError as error:
        put(Finding("selftest.sqlite", "warning", "missing", {"reason": str(error)}))
        return
    put(Finding("selftest.sqlite", "ok", "here", {"version": sqlite3.sqlite_version}))


def keyring(put: Put, told: Mapping[str, Any]) -> None:
    """Which keyring holds the sign-in. Other people's program: it may hang."""
    answer: list[Finding] = []

    def ask() -> None:
        from vidconf.client.credentials import KeyringUnusable, system_keyring

        try:
            found: Any = system_keyring()
            answer.append(Finding("selftest.keyring", "ok", "here", {"name": str(getattr(found, "name", type(found).__name__))}))
        except KeyringUnusable:
            answer.append(Finding("selftest.keyring", "warning", "none", {}))
        except Exception as error:  # backends raise whatever their desktops do
            answer.append(Finding("selftest.keyring", "warning", "broken", {"reason": f"{type(error).__name__}: {error}"}))

    asking = threading.Thread(target=ask, name="keyring", daemon=True)
    asking.start()
    asking.join(KEYRING_S)
    put(answer[0] if answer else Finding("selftest.keyring", "warning", "silent", {}))


def tls(put: Put, told: Mapping[str, Any]) -> None:
    """The operating system's certificate store can be loaded, and a certificate it does not know is refused."""
    from vidconf.client.rest import tls_context

    detail: dict[str, Any] = {"openssl": ssl.OPENSSL_VERSION}
    try:
        context = tls_context()
        refused = _refuses_a_stranger(context)
        roots = _roots(context)
    except (OSError, ValueError) as error:
        put(Finding("selftest.tls", "failure", "broken", {"reason": f"{type(error).__name__}: {error}", **detail}))
        return
    if not refused:
        put(Finding("selftest.tls", "failure", "trusts_anybody", detail))
    elif roots == 0:
        put(Finding("selftest.tls", "warning", "no_roots", detail))
    elif roots is None:
        put(Finding("selftest.tls", "ok", "system", detail))
    else:
        put(Finding("selftest.tls", "ok", "store", {"roots": roots, **detail}))


def _roots(context: ssl.SSLContext) -> int | None:
    """How many authorities the store holds; None where the system judges by itself."""
    if sys.platform in ("win32", "darwin"):
        return None
    folder = ssl.get_default_verify_paths().capath
    held = {name for name in os.listdir(folder) if name[:8].isalnum() and name[8:9] == "."} if folder and os.path.isdir(folder) else set()
    loaded: ssl.SSLContext = getattr(context, "_ctx", context)  # truststore's own object counts nothing
    return loaded.cert_store_stats()["x509_ca"] or len(held)


def _refuses_a_stranger(context: ssl.SSLContext) -> bool:
    """A handshake in memory with a server whose certificate nobody has signed."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder) / "stranger.pem"
        pem.write_bytes(_self_signed("stranger.invalid"))
        server_context.load_cert_chain(pem)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="stranger.invalid")
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
                if side is client:
                    return False
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return True
    return False


def _self_signed(name: str) -> bytes:
    """Key and certificate, PEM."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + certificate.public_bytes(serialization.Encoding.PEM)
