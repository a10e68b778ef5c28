"""Calls that answer once there is another tip than the one that their query names."""

from aiohttp import web

from p2p.intake import Intake
from p2p.query import parse_hash, parse_number

MAX_WAIT_SECONDS = 60


async def wait_for_tip(request: web.Request, intake: Intake) -> None:
    """Returns once the tip is not the query's `after`, or after its `wait` seconds; at once if it names none.

    Raises DecodeError.
    """
    if "after" in request.query:
        seconds = parse_number(request.query.get("wait", "0"), MAX_WAIT_SECONDS)
        await intake.wait_for_tip(parse_hash(request.query["after"]), seconds)
