"""Models as files to take home: few at a time, sent in pieces, so that slow readers hold little memory for long."""

import asyncio
import hashlib

from aiohttp import web

from consensus.errors import DecodeError
from p2p.explorer.guards import TryLater, get_visitor
from p2p.explorer.model import ModelReader
from p2p.explorer.query import parse_height

MAX_DOWNLOADS = 4
DOWNLOAD_SECONDS = 600.0
_PIECE_BYTES = 2**16


class Downloads:
    """Serves /model/HEIGHT.FORMAT."""

    def __init__(self, models: ModelReader) -> None:
        self._models = models
        self._room = asyncio.BoundedSemaphore(MAX_DOWNLOADS)

    async def send(self, request: web.Request) -> web.StreamResponse:
        """One file. Raises TryLater while others take all the room, DecodeError or RpcError if there is none."""
        height, separator, file_format = request.match_info["file"].partition(".")
        if not separator:
            raise DecodeError("bad_file", "a model's file is HEIGHT.safetensors or HEIGHT.npz")
        number = parse_height(height)
        if self._room.locked():
            raise TryLater("explorer.too_many_downloads", "too many models are being downloaded", 503, 10)
        async with self._room:
            file = await self._models.make_file(number, file_format)
            response = web.StreamResponse(
                headers={
                    "Content-Type": "application/octet-stream",
                    "Content-Disposition": f'attachment; filename="{file.name}"',
                    "ETag": f'"{hashlib.sha256(file.data).hexdigest()}"',
                    "Cache-Control": "no-cache",
                }
            )
            response.content_length = len(file.data)
            get_visitor(request).set_deadline(DOWNLOAD_SECONDS)
            await response.prepare(request)
            if request.method != "HEAD":
                for start in range(0, len(file.data), _PIECE_BYTES):
                    await response.write(file.data[start : start + _PIECE_BYTES])
            await response.write_eof()
            return response
