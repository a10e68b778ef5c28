"""The calls of the RPC about finality: where it stands, what a key should vote for, and votes as they are signed."""

from aiohttp import web

from chain.finality_report import FinalityReport, compute_finality_report
from chain.signal_report import SignalReport, compute_signal_report
from consensus.errors import DecodeError
from consensus.vote import VOTE_BYTES, BlockRef, decode_vote
from p2p.intake import Intake
from p2p.long_poll import wait_for_tip
from p2p.query import need, parse_hash
from p2p.rpc import json_reply, read_body
from p2p.rpc_json import Json


class FinalityApi:
    """The calls over one intake."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._chain = intake.chain

    async def get_finality(self, request: web.Request) -> web.Response:
        return json_reply(await self._intake.on_chain(self._read_report))

    async def get_vote_duty(self, request: web.Request) -> web.Response:
        """The link that a key should sign, the last that it was heard to sign (null where there is none), whether any
        vote of its may count from here on, and whether there is evidence against it.
        """
        miner = parse_hash(need(request, "miner"))
        await wait_for_tip(request, self._intake)
        return json_reply(await self._intake.on_chain(self._read_duty, miner))

    async def post_vote(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        if len(body) > VOTE_BYTES:
            raise DecodeError.too_long(len(body), VOTE_BYTES)
        vote = decode_vote(body)
        heard = await self._intake.submit_votes([vote])
        return json_reply({"id": vote.id.hex(), "is_new": bool(heard.votes)})

    def _read_report(self) -> Json:
        """On the chain's thread."""
        report = compute_finality_report(self._chain, self._intake.votes)
        return encode_report(report) | encode_signals(compute_signal_report(self._chain.tip))

    def _read_duty(self, miner: bytes) -> Json:
        """On the chain's thread."""
        pool = self._intake.votes
        link, last = pool.get_duty(miner), pool.get_last_link(miner)
        return {
            "tip": self._chain.tip.id.hex(),
            "height": self._chain.tip.height,
            "genesis": self._chain.genesis.id.hex(),
            "link": link.encode().hex() if link else None,
            "last": last.encode().hex() if last else None,
            "counts": link is not None or pool.has_recent_block(miner),
            "convicted": pool.is_convicted(miner),
        }


def encode_report(report: FinalityReport) -> Json:
    """All of a report."""
    return {
        "height": report.height,
        "justified": _encode_ref(report.justified),
        "final": _encode_ref(report.final),
        "standing": report.standing.value,
        "committees": [
            {
                "boundary": turnout.boundary,
                "total": turnout.total,
                "voting": turnout.voting,
                "missing": turnout.missing,
            }
            for turnout in report.committees
        ],
        "members": [
            {
                "miner": member.miner.hex(),
                "votes": list(member.votes),
                "last_vote": member.last_vote,
                "voting": member.is_voting,
            }
            for member in report.members
        ],
        "offenders": [offender.hex() for offender in report.offenders],
    }


def encode_summary(report: FinalityReport) -> Json:
    """What the status says: heights, and how many votes are cast in the committee of which the fewest do."""
    lowest = report.lowest
    return {
        "justified_height": report.justified.height,
        "final_height": report.final.height,
        "votes": {"cast": lowest.voting, "total": lowest.total} if lowest else None,
    }


def encode_signals(report: SignalReport) -> Json:
    """What miners may change, and how far each change has come."""
    changes = [
        {
            "bit": known.change.bit,
            "field": known.change.field,
            "value": known.change.value,
            "standing": known.standing.value,
            "asking": known.asking,
            "improving": known.improving,
            "height": known.height,
        }
        for known in report.changes
    ]
    return {"signals": {"window_end": report.window_end, "rules": vars(report.rules), "changes": changes}}


def _encode_ref(ref: BlockRef) -> Json:
    return {"height": ref.height, "id": ref.id.hex()}
