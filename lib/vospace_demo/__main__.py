"""The command `vospace-demo`: serve a directory until told to stop."""

import argparse
import signal
import sys
from typing import NoReturn

from retrieve.host.program import run

STOP = {signal.SIGINT, signal.SIGTERM}


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and exit 2."""
        print(f"vospace-demo: {message}; see 'vospace-demo --help'", file=sys.stderr)
        raise SystemExit(2)


def parser() -> Parser:
    """Return the arguments of the command."""
    result = Parser(
        prog="vospace-demo",
        description="Serve a directory as VOSpace (vos: and arc:) on this machine, until interrupted.",
    )
    result.add_argument("root", metavar="ROOT", help="the directory: vos:PATH and arc:PATH are both ROOT/PATH")
    result.add_argument("--port", type=int, default=0, metavar="N", help="default: any free port")
    result.add_argument(
        "--latency", type=float, default=0.0, metavar="S", help="seconds that every request takes longer"
    )
    result.add_argument(
        "--per-node", type=float, default=0.0, metavar="S", help="seconds that every node of an answer takes longer"
    )
    spellings = ("none", "bare", "prefixed")
    result.add_argument("--arc-md5", choices=spellings, default="none", help="how arc: spells MD5s (none)")
    result.add_argument("--vault-md5", choices=spellings[1:], default="bare", help="how vos: spells MD5s (bare)")
    result.add_argument(
        "--private",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH",
        help="containers and files below ROOT that anonymous callers may not read",
    )
    return result


def main(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    # Blocked before any thread starts, so that the signal waits for sigwait and not for a thread.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)

    from vospace_demo.server import VOSpace
    from vospace_demo.tree import Refused

    try:
        space = VOSpace(
            options.root,
            options.port,
            options.latency,
            options.per_node,
            options.vault_md5,
            options.arc_md5,
            options.private,
        )
    except NotADirectoryError:
        print(f"cannot serve '{options.root}': no such directory; name one that exists", file=sys.stderr)
        return 2
    except Refused as error:
        print(f"cannot keep '{error.path}' private: not a path below the root; leave out '..'", file=sys.stderr)
        return 2
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "no such port"
        print(f"cannot listen on port '{options.port}': {reason.lower()}; choose another --port", file=sys.stderr)
        return 2
    with space:
        print(f"export VOSPACE_WEBSERVICE={space.host}")
        print(f"# serving '{options.root}' as vos: and arc: (use -k: vls -k vos:); stop with ^C", flush=True)
        signal.sigwait(STOP)
    return 0


if __name__ == "__main__":
    options = parser().parse_args()
    run("vospace-demo", lambda: main(options))
