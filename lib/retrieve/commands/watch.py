"""`watch`: `sync` again and again, until every tile of the list is unpacked."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta

from retrieve.campaign.checkup import obstacle
from retrieve.campaign.rounds import Round, Rounds
from retrieve.errors import SettingError
from retrieve.host.events import LAST, LIMIT
from retrieve.host.messages import show
from retrieve.host.program import Interrupt, sleep
from retrieve.settings import Settings
from retrieve.wording import size, some


def main(settings: Settings) -> int:
    """Tell each round in a line; exit status 0 when every tile is here as it shall be."""
    for directory in (settings.stamps, settings.archives, settings.dest):
        if problem := obstacle(directory):
            raise SettingError(problem)
    rounds, status = Rounds(settings), 2
    try:
        while not rounds.take().all_done:
            pause = rounds.pause()
            _tell(rounds, datetime.now() + timedelta(seconds=pause), settings)
            sleep(pause)
    except Interrupt as stop:
        standing = _standing(rounds, rounds.look(), settings)
        stop.line = f"stopped in round {rounds.number}: {standing}; run 'make watch' again to go on"
        status = stop.status
        raise
    else:
        status = 0
        _tell(rounds, None, settings)
    finally:
        rounds.events.ended(_standing(rounds, rounds.last, settings), {"verb": "watch", "status": status})
        rounds.events.finish(LAST if status > 2 else LIMIT)
    return status


def _tell(rounds: Rounds, then: datetime | None, settings: Settings) -> None:
    """Print the line of a round; at once, since who reads it may do so through a pipe."""
    now, one = datetime.now(), rounds.last
    new = f" ({one.new:+d})" if one.new else ""
    fetched = f"{some(one.fetched, 'archive')} fetched ({size(one.bytes)})" if one.fetched else "nothing fetched"
    news = [
        _standing(rounds, one, settings) + new,
        f"{one.complete} complete at the source",
        one.trouble or fetched,
        f"next at {then:%T}" if then else "all done",
    ]
    show(
        settings,
        text=[f"{now:%F %T} round {rounds.number}: {'; '.join(news)}"],
        data={
            "round": rounds.number,
            "time": now.astimezone().isoformat(timespec="seconds"),
            "next": then and then.astimezone().isoformat(timespec="seconds"),
            **one._asdict(),
        },
    )
    sys.stdout.flush()


def _standing(rounds: Rounds, last: Round, settings: Settings) -> str:
    return f"{last.done} of {settings.counted(last.tiles)} {rounds.goal}"
