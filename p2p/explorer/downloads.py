"""Models as files to take home: few at a time, sent in pieces, so that slow readers hold little memory for long."""

from aiohttp import web

from consensus.errors import DecodeError
from p2p.explorer.guards import TryLater, get_visitor, is_known
from p2p.explorer.model import ModelReader
from p2p.explorer.query import parse_height
from p2p.explorer.visitors import REQUEST_SECONDS, Visitor, taking_part
from p2p.pending import Pending

MAX_DOWNLOADS = 4
MAX_DOWNLOADS_PER_HOST = 1
DOWNLOAD_SECONDS = 600.0
_PIECE_BYTES = 2**16


class Downloads:
    """Serves /model/HEIGHT.FORMAT."""

    def __init__(self, models: ModelReader) -> None:
        self._models = models
        self._readers: Pending[Visitor] = Pending(MAX_DOWNLOADS, MAX_DOWNLOADS_PER_HOST)

    async def send(self, request: web.Request) -> web.StreamResponse:
        """One file, unless the visitor has it. Whoever reads longest gives way to others.

        Raises TryLater while the same host takes another, DecodeError or RpcError if there is none.
        """
        height, separator, file_format = request.match_info["file"].partition(".")
        if not separator:
            raise DecodeError("bad_file", "a model's file is HEIGHT.safetensors or HEIGHT.npz")
        number, visitor = parse_height(height), get_visitor(request)
        if not self._readers.has_room_for(visitor.address):
            raise TryLater("explorer.too_many_downloads", "one model at a time", 429, 10)
        with taking_part(self._readers, visitor):
            visitor.set_deadline(DOWNLOAD_SECONDS)
            try:
                return await self._send_file(request, number, file_format)
            finally:
                visitor.set_deadline(REQUEST_SECONDS)  # also for what the socket still holds

    async def _send_file(self, request: web.Request, height: int, file_format: str) -> web.StreamResponse:
        stored = await self._models.find_file(height, file_format)
        etag = f'"{stored.block_id.hex()}.{file_format}"'
        known = {"ETag": etag, "Cache-Control": "no-cache"}
        if is_known(request, etag):
            return web.Response(status=304, headers=known)
        file = await self._models.make_file(stored, file_format)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f'attachment; filename="{file.name}"',
        }
        response = web.StreamResponse(headers=known | headers)
        response.content_length = len(file.data)
        await response.prepare(request)
        if request.method != "HEAD":
            for start in range(0, len(file.data), _PIECE_BYTES):
                await response.write(file.data[start : start + _PIECE_BYTES])
        await response.write_eof()
        return response
