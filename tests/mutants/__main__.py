"""`python -m mutants [--sample N] [--seed S] [MODULE …]`: is each check that the toolkit makes tested?

Each comparison, condition, digest, fsync, rename and refusal in the modules of `covering.py` is taken out or turned
round, one at a time, in a copy of the checkout. The tests that cover the module run there until one fails: the mutant
is killed. One that survives must be in `survivors.txt`, with the reason why no test can tell. A survivor without a
reason fails this command, as does an entry of that list that is no survivor any more.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mutants.covering import COVERED_BY
from mutants.kinds import Mutant, mutants

HERE = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("survivors.txt")


@dataclass(frozen=True)
class Fate:
    """What became of a mutant: the test that killed it; empty if none did."""

    mutant: Mutant
    killer: str


class Workers:
    """Processes in which tests stand ready, each in a copy of the checkout; see `worker.py`."""

    def __init__(self, place: Path, count: int, tests: Iterable[str]) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=HERE, stdout=subprocess.PIPE, check=True, text=True,
        ).stdout.split("\0")  # fmt: skip
        self._free: queue.Queue[subprocess.Popen[str]] = queue.Queue()
        for number in range(count):
            copy = place / str(number)
            for name in (name for name in listed if (HERE / name).is_file()):
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(HERE / name, copy / name)
            words = ["-P", "-m", "pytest", "-q", "-p", "mutants.worker", "-p", "no:cacheprovider", "--tb=no",
                     "--hypothesis-seed=0", f"--basetemp={copy}/tmp", *(f"tests/{name}" for name in tests)]  # fmt: skip
            own = os.environ | {"PYTHONPATH": f"{copy}/tests"}
            self._free.put(
                subprocess.Popen(
                    [sys.executable, *words],
                    cwd=copy,
                    env=own,
                    text=True,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )

    def fate(self, mutant: Mutant, tests: list[str]) -> Fate:
        """Run tests with a mutant in its place until one fails."""
        worker = self._free.get()
        try:
            question = {"module": mutant.module, "text": mutant.text, "tests": tests}
            print(json.dumps(question), file=worker.stdin, flush=True)
            while not (line := worker.stdout.readline()).startswith("{"):
                if not line:
                    raise SystemExit(f"the tests of '{mutant.module}' cannot be run: see 'tests/mutants/covering.py'")
            return Fate(mutant, **json.loads(line))
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """Have the processes end."""
        while not self._free.empty():
            self._free.get().communicate()


def explained() -> dict[str, str]:
    """The list of survivors: a line for each, by name, followed by an indented reason."""
    found: dict[str, str] = {}
    name = ""
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            found[name] = f"{found[name]} {line.strip()}".strip()
        elif line and not line.startswith("#"):
            name = line
            found[name] = ""
    return found


def problems(fates: list[Fate], known: dict[str, str], made: set[str], modules: list[str]) -> list[str]:
    """What is wrong: survivors without a reason, and reasons without a survivor."""
    found = [
        f"lib/retrieve/{one.mutant.module}:{one.mutant.line}: survived: {one.mutant.name}"
        for one in fates
        if not one.killer and not known.get(one.mutant.name)
    ]
    killed = {one.mutant.name: one.killer for one in fates if one.killer}
    found += [f"no survivor any more, killed by {killed[name]}: {name}" for name in known if name in killed]
    return found + [f"no mutant any more: {name}" for name in known if name.split()[0] in modules and name not in made]


def main() -> None:
    """Make the mutants, run the tests, tell the survivors."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--sample", type=int, help="so many that are not in the list of survivors, drawn anew each time"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("modules", nargs="*", default=list(COVERED_BY))
    options = parser.parse_args()
    for name in set(options.modules) - COVERED_BY.keys():
        parser.error(f"no tests are named for '{name}'; enter them in 'tests/mutants/covering.py'")
    known = explained()
    sources = {name: (HERE / "lib/retrieve" / name).read_text(encoding="utf-8") for name in options.modules}
    chosen = made = [one for name, text in sources.items() for one in mutants(name, text)]
    if options.sample:
        others = [one for one in made if one.name not in known]
        chosen = random.Random(options.seed).sample(others, min(options.sample, len(others)))
        print(f"{len(chosen)} of {len(others)} mutants, SEED={options.seed}", flush=True)
    tests = {one.module: COVERED_BY[one.module] for one in chosen}
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as place:
        count = os.cpu_count() or 1
        files = dict.fromkeys(test.partition("::")[0] for several in tests.values() for test in several)
        workers = Workers(Path(place), count, files)
        fates = []
        with ThreadPoolExecutor(count) as pool:
            for fate in pool.map(lambda one: workers.fate(one, tests[one.module]), chosen):
                fates.append(fate)
                print(f"killed by {fate.killer}:" if fate.killer else "survived:", fate.mutant.name, flush=True)
            # What a test kills counts only if it passes without a mutant.
            killers = {
                one.killer.removeprefix("tests/"): one.mutant.module for one in fates if one.killer.startswith("tests/")
            }
            same = [(Mutant(name, 0, test, sources[name]), [test]) for test, name in killers.items()]
            failing = [one.mutant.name for one in pool.map(workers.fate, *zip(*same, strict=True)) if one.killer]
        workers.close()
    found = problems(fates, known, {one.name for one in made}, options.modules)
    found += [f"fails without a mutant, too: {test}" for test in failing]
    killed = sum(bool(one.killer) for one in fates)
    print(f"{killed} of {len(fates)} mutants killed, {len(fates) - killed} survived")
    print(*found, sep="\n", end="\n" * bool(found), file=sys.stderr)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
