"""The stage painted by the graphics card: every tile of planar video in one pass of one QRhiWidget. The window's thread.

A tile is one R8 texture (I420 "side by side", see `engine.frame_ring`), uploaded straight from shared memory; the shader turns it
into colours, cuts it to the tile and puts over it one image of the whole stage, in which QPainter draws names, marks, corners and
frames (`canvas.Overlays`), and of which only what has changed is uploaded. A pass is made when a ring has something new, a name has
changed or the bars have moved, and at no other time.
OpenGL, Direct3D 11 or Metal, whichever Qt takes on this system. `lost` says that it cannot go on; `raster` can.
"""

from __future__ import annotations

import logging
import struct
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

from PySide6.QtCore import QRect, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QImage,
    QMatrix4x4,
    QPainter,
    QRegion,
    QRhi,
    QRhiBuffer,
    QRhiCommandBuffer,
    QRhiDepthStencilClearValue,
    QRhiGraphicsPipeline,
    QRhiResourceUpdateBatch,
    QRhiSampler,
    QRhiShaderResourceBinding,
    QRhiShaderResourceBindings,
    QRhiShaderStage,
    QRhiTexture,
    QRhiTextureSubresourceUploadDescription,
    QRhiTextureUploadDescription,
    QRhiTextureUploadEntry,
    QRhiVertexInputAttribute,
    QRhiVertexInputBinding,
    QRhiVertexInputLayout,
    QRhiViewport,
    QShader,
)
from PySide6.QtWidgets import QRhiWidget, QWidget
from shiboken6 import getCppPointer

from vidconf.engine.frame_ring import Frame
from vidconf.gui.stage.canvas import Format, Overlays, Shown, ground
from vidconf.gui.stage.graphics import Trial
from vidconf.gui.stage.pictures import Picture, Pictures
from vidconf.gui.stage.shrinking import fits, shrunk
from vidconf.gui.stage.yuv import FLOATS, VERTICES, crop, quad
from vidconf.gui.theme import T
from vidconf.resources import resource

log = logging.getLogger("vidconf.stage")

UNIFORM_BYTES = 80
"""tile.vert's block: a matrix and a vec4."""
LEAST_ROOM = 9


@dataclass(eq=False, slots=True)
class _Texture:
    """Of one track."""

    pixels: QRhiTexture
    bindings: QRhiShaderResourceBindings
    shape: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Width, height, stride and format of the picture in it."""
    size: tuple[int, int] = (0, 0)
    """Of the picture as it came: larger where the card takes none so large."""
    version: tuple[int, int] = (0, 0)


class GpuCanvas(QRhiWidget):
    """Paints with QRhi. `trial`: whether it is quick enough is judged, and `lost` said when it is not."""

    format: Format = "i420"
    lost = Signal(str)
    """`unavailable`, `failed` or `slow`."""
    _lost_here = Signal(str)

    def __init__(self, parent: QWidget, pictures: Pictures, *, trial: bool = False) -> None:
        super().__init__()
        self.setParent(parent)  # not by the constructor: a window that is on the screen already is made anew for the card only so
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.pass_ms = 0.0
        self._pictures = pictures
        self._trial = Trial() if trial else None
        self._began: tuple[float, float] | None = None
        self._tiles: list[Shown] = []
        self._overlays = Overlays()
        self._image = QImage()
        """What lies over the pictures, as large as the stage."""
        self._stale = QRegion()
        """Of it, device pixels: to be drawn again."""
        self._covered: dict[str, bool] = {}
        """Tile → whether it was last drawn with a picture."""
        self._textures: dict[str, _Texture] = {}
        self._retired: list[Any] = []
        self._made: list[Any] = []
        """What belongs to the device, but for textures and vertices."""
        self._device = 0
        """Address of the QRhi that our resources belong to; 0: none are made."""
        self._moved = True
        self._gone = False
        self._room = 0
        self._vertices: QRhiBuffer | None = None
        # Queued: it may be found out in the middle of a pass, and who hears of it throws this canvas away.
        self._lost_here.connect(self.lost, Qt.ConnectionType.QueuedConnection)
        self.renderFailed.connect(lambda: self._lose("unavailable"))
        self.frameSubmitted.connect(self._on_submitted)

    # ---- what there is to paint
    def show_tiles(self, tiles: Sequence[Shown]) -> None:
        before = {tile.content.key: tile for tile in self._tiles}
        same = len(tiles) == len(self._tiles)
        for tile in tiles:
            if before.get(tile.content.key) != tile:
                self._stale |= QRegion(tile.pixels)
                same = False
        self._tiles = list(tiles)
        self._overlays.keep(tiles, self.devicePixelRatioF())
        if not same:
            self._moved = True
            self.update()

    def fresh(self, tracks: Collection[str]) -> None:
        if any(tile.content.track in tracks for tile in self._tiles):
            self.update()

    def beat(self, phase: int, levels: Mapping[str, float]) -> None:
        self._overlays.beat(phase, levels)
        for tile in self._tiles:
            at = self._overlays.bars_of(tile)
            if at is not None:
                self._stale |= QRegion(at)
                self.update()

    def let_go(self) -> None:
        self._tiles, self._covered = [], {}
        self._overlays.clear()
        self._image = QImage()
        self.releaseResources()

    # ---- QRhiWidget's three; an exception raised in them would be printed and lost
    def initialize(self, cb: QRhiCommandBuffer) -> None:
        self._moved = True  # it is called for another size too
        if getCppPointer(self.rhi())[0] == self._device:
            return
        self.releaseResources()  # another window, or a device that was lost
        try:
            self._make(self.rhi())
        except Exception as error:
            log.error("the graphics card cannot be used: %s", error, exc_info=error)
            self._lose("failed")

    def render(self, cb: QRhiCommandBuffer) -> None:  # type: ignore[override]  # QRhiWidget's, which hides QWidget's
        if not self._device:
            return
        began = perf_counter()
        self._began = (began, process_time())
        rhi, target = self.rhi(), self.renderTarget()
        batch = rhi.nextResourceUpdateBatch()
        painted: list[Picture] = []
        try:
            painted = self._prepare(rhi, batch, target.pixelSize())
        except Exception as error:
            log.error("painting by the graphics card failed", exc_info=error)
            self._lose("failed")
        cb.beginPass(target, QColor(T["stage"]), QRhiDepthStencilClearValue(1.0, 0), batch)
        if not self._gone and self._tiles and self._vertices is not None:
            self._draw(cb, target.pixelSize(), self._vertices)
        cb.endPass()
        for picture in painted:
            picture.shown()
        self.pass_ms += 0.1 * (1000 * (perf_counter() - began) - self.pass_ms)

    def releaseResources(self) -> None:
        for track in list(self._textures):
            self._retire(track)
        self._drop_retired()
        self._covered.clear()
        self._device = 0
        for one in (self._vertices, *reversed(self._made)):
            if one is not None:
                one.destroy()  # the card's memory is given back now, whoever still holds the wrapper
        self._vertices, self._room = None, 0
        self._made.clear()

    # ---- making
    def _make(self, rhi: QRhi) -> None:
        edge, linear, nearest = QRhiSampler.AddressMode.ClampToEdge, QRhiSampler.Filter.Linear, QRhiSampler.Filter.Nearest
        none = QRhiSampler.Filter.None_
        self._uniforms = self._kept(rhi.newBuffer(QRhiBuffer.Type.Dynamic, QRhiBuffer.UsageFlag.UniformBuffer, UNIFORM_BYTES))
        self._linear = self._kept(rhi.newSampler(linear, linear, none, edge, edge))
        self._nearest = self._kept(rhi.newSampler(nearest, nearest, none, edge, edge))
        self._over = self._kept(rhi.newTexture(QRhiTexture.Format.RGBA8, QSize(1, 1)))
        self._image = QImage()
        self._default = self._bind(rhi, self._kept(rhi.newTexture(QRhiTexture.Format.R8, QSize(16, 3))))
        self._made.append(self._default)
        pipeline = rhi.newGraphicsPipeline()
        pipeline.setTopology(QRhiGraphicsPipeline.Topology.TriangleStrip)
        pipeline.setShaderStages([
            QRhiShaderStage(QRhiShaderStage.Type.Vertex, _shader("tile.vert")), QRhiShaderStage(QRhiShaderStage.Type.Fragment, _shader("tile.frag")),
        ])  # fmt: skip
        layout = QRhiVertexInputLayout()
        layout.setBindings([QRhiVertexInputBinding(FLOATS * 4)])
        four = QRhiVertexInputAttribute.Format.Float4
        layout.setAttributes([QRhiVertexInputAttribute(0, place, four, 16 * place) for place in range(FLOATS // 4)])
        pipeline.setVertexInputLayout(layout)
        pipeline.setShaderResourceBindings(self._default)
        pipeline.setRenderPassDescriptor(self.renderTarget().renderPassDescriptor())
        pipeline.setSampleCount(self.sampleCount())
        self._pipeline = self._kept(pipeline)
        self._most = rhi.resourceLimit(QRhi.ResourceLimit.TextureSizeMax)
        self._device = getCppPointer(rhi)[0]

    def _kept(self, one: Any) -> Any:
        """Created, and given back with the device."""
        self._made.append(one)
        if not one.create():
            raise RuntimeError(f"{type(one).__name__} cannot be made")
        return one

    def _bind(self, rhi: QRhi, texture: QRhiTexture) -> QRhiShaderResourceBindings:
        vertex, fragment = QRhiShaderResourceBinding.StageFlag.VertexStage, QRhiShaderResourceBinding.StageFlag.FragmentStage
        bindings = rhi.newShaderResourceBindings()
        bindings.setBindings([
            QRhiShaderResourceBinding.uniformBuffer(0, vertex, self._uniforms),
            QRhiShaderResourceBinding.sampledTexture(1, fragment, texture, self._linear),
            QRhiShaderResourceBinding.sampledTexture(2, fragment, self._over, self._nearest),
        ])  # fmt: skip
        if not bindings.create():
            raise RuntimeError("the shaders' bindings cannot be made")
        return bindings

    def _retire(self, track: str) -> None:
        held = self._textures.pop(track)
        self._retired += [held.bindings, held.pixels]
        self._moved = True

    def _drop_retired(self) -> None:
        for one in self._retired:
            one.destroy()
        self._retired.clear()

    # ---- one pass
    def _prepare(self, rhi: QRhi, batch: QRhiResourceUpdateBatch, size: QSize) -> list[Picture]:
        """Everything new goes to the card; whose pictures this pass shows."""
        self._drop_retired()
        shown = {tile.content.track for tile in self._tiles}
        for track in [held for held in self._textures if held not in shown]:
            self._retire(track)
        painted = []
        for tile in self._tiles:
            content = tile.content
            picture = self._pictures.get(content.track) if content.picture else None
            frame = picture.frame if picture is not None else None
            live = frame is not None and picture is not None and content.track is not None and self._upload(rhi, batch, content.track, picture, frame)
            if live and picture is not None:
                painted.append(picture)
            if self._covered.get(content.key) is not live:
                self._covered[content.key] = live
                self._stale |= QRegion(tile.pixels)
                self._moved = True
        self._upload_over(batch, size)
        if self._moved:
            self._moved = False
            self._upload_places(rhi, batch, size)
        return painted

    def _upload(self, rhi: QRhi, batch: QRhiResourceUpdateBatch, track: str, picture: Picture, frame: Frame) -> bool:
        """Whether the track's texture holds `frame` afterwards."""
        if not picture.planar:
            return False
        held = self._textures.get(track)
        if held is not None and held.version == picture.version and held.size == (frame.width, frame.height):
            return True
        width, height, stride, small = frame.width, frame.height, frame.stride, None
        if not fits(width, height, stride, self._most):
            small, width, height = shrunk(frame, self._most)
            stride = small.width()
        rows = height + (height + 1) // 2
        shape = (width, height, stride, frame.format)
        pixels = QSize(stride, rows)
        if held is None:
            texture = rhi.newTexture(QRhiTexture.Format.R8, pixels)
            if not texture.create():
                raise RuntimeError(f"no texture of {stride} × {rows}")
            held = self._textures[track] = _Texture(texture, self._bind(rhi, texture))
        elif held.pixels.pixelSize() != pixels:
            held.pixels.setPixelSize(pixels)  # what is bound follows by itself
            if not held.pixels.create():
                raise RuntimeError(f"no texture of {stride} × {rows}")
        # Borrowed, not copied: the ring keeps this slot for us until the next one is taken.
        image = small or QImage(frame.data, stride, rows, stride, QImage.Format.Format_Grayscale8)
        upload = QRhiTextureUploadEntry(0, 0, QRhiTextureSubresourceUploadDescription(image))
        batch.uploadTexture(held.pixels, QRhiTextureUploadDescription(upload))
        if held.shape != shape:
            held.shape, self._moved = shape, True
        held.version, held.size = picture.version, (frame.width, frame.height)
        return True

    def _upload_over(self, batch: QRhiResourceUpdateBatch, size: QSize) -> None:
        """Draw what is stale of the image over the pictures, and upload that."""
        if self._image.size() != size:
            self._image = QImage(size, QImage.Format.Format_RGBA8888_Premultiplied)
            self._image.fill(Qt.GlobalColor.transparent)
            self._over.setPixelSize(size)
            if not self._over.create():
                raise RuntimeError(f"no texture of {size.width()} × {size.height()}")
            self._stale = QRegion(QRect(0, 0, size.width(), size.height()))
        if self._stale.isEmpty():
            return
        whole = self._stale.boundingRect().intersected(self._image.rect())
        ratio = self.devicePixelRatioF()
        painter = QPainter(self._image)
        for tile in self._tiles:
            part = tile.pixels.intersected(whole)
            if not part.isEmpty() and self._stale.intersects(tile.pixels):
                painter.setClipRegion(self._stale & QRegion(tile.pixels))
                painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Source)
                painter.fillRect(part, Qt.GlobalColor.transparent)
                painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_SourceOver)
                self._overlays.paint(painter, tile, ratio, self._covered.get(tile.content.key, False))
        painter.end()
        parts = [QRect(part) for part in self._stale] if self._stale.rectCount() <= LEAST_ROOM else [whole]  # type: ignore[attr-defined]
        self._stale = QRegion()
        for part in parts:
            part = part.intersected(self._image.rect())
            if not part.isEmpty():
                # A copy: the batch holds on to what it is given, and drawing on that next time would copy all of it.
                piece = QRhiTextureSubresourceUploadDescription(self._image.copy(part))
                piece.setDestinationTopLeft(part.topLeft())
                batch.uploadTexture(self._over, QRhiTextureUploadDescription(QRhiTextureUploadEntry(0, 0, piece)))

    def _upload_places(self, rhi: QRhi, batch: QRhiResourceUpdateBatch, size: QSize) -> None:
        matrix = QMatrix4x4(rhi.clipSpaceCorrMatrix())
        matrix.ortho(0, size.width(), size.height(), 0, -1, 1)
        batch.updateDynamicBuffer(self._uniforms, 0, struct.pack("20f", *matrix.data(), size.width(), size.height(), 0, 0))
        floats = array("f")
        for tile in self._tiles:
            held = self._textures.get(tile.content.track or "")
            live = held is not None and self._covered.get(tile.content.key, False)
            width, height, stride, fmt = held.shape if held is not None and live else (16, 2, 16, 0)
            picture = QSize(width, height)
            seen = crop(picture, tile.pixels.size(), fill=tile.content.fill, mirrored=tile.content.mirrored)
            floats.extend(quad(tile.pixels, seen, picture, stride, fmt, ground(tile), live))
        data = floats.tobytes()
        if len(data) > self._room:
            if self._vertices is not None:
                self._vertices.destroy()
            self._room = max(len(data), LEAST_ROOM * VERTICES * FLOATS * 4)
            self._vertices = rhi.newBuffer(QRhiBuffer.Type.Dynamic, QRhiBuffer.UsageFlag.VertexBuffer, self._room)
            if not self._vertices.create():
                raise RuntimeError("no room for the tiles' places")
        if data:
            assert self._vertices is not None
            batch.updateDynamicBuffer(self._vertices, 0, data)

    def _draw(self, cb: QRhiCommandBuffer, size: QSize, vertices: QRhiBuffer) -> None:
        cb.setGraphicsPipeline(self._pipeline)
        cb.setViewport(QRhiViewport(0, 0, size.width(), size.height()))
        for place, tile in enumerate(self._tiles):
            held = self._textures.get(tile.content.track or "")
            cb.setShaderResources(held.bindings if held is not None and self._covered.get(tile.content.key, False) else self._default)
            if place == 0:  # after the first resources, once
                cb.setVertexInput(0, [(vertices, 0)])
            cb.draw(VERTICES, 1, VERTICES * place, 0)

    # ---- whether it goes well
    def _on_submitted(self) -> None:
        """The window is composed and on its way to the screen; on a software renderer this is where the time goes."""
        began, self._began = self._began, None
        if began is None or self._trial is None:
            return
        verdict = self._trial.add(1000 * (perf_counter() - began[0]), 1000 * (process_time() - began[1]))
        if verdict is not None:
            self._trial = None
            if verdict == "slow":
                self._lost_here.emit("slow")  # it can paint, and does where it was asked for by name meanwhile

    def _lose(self, why: str) -> None:
        if not self._gone:
            self._gone = True
            self._lost_here.emit(why)


def _shader(name: str) -> QShader:
    baked = QShader.fromSerialized(resource("shaders", f"{name}.qsb").read_bytes())
    if not baked.isValid():
        raise RuntimeError(f"{name}.qsb is no baked shader")
    return baked
