#!/usr/bin/env bash
# test-again.sh N COMMAND...: run the tests N times in a row. Every other run, from the first, has two busy loops beside
# it; the last one has a single core. Each run gets a line; the status is 1 if any failed.
set -euo pipefail

runs=$1
shift
logs=$(mktemp -d)
# The loops run as long as this file and this script are there: a signal could meet one that is still being made.
busy=$logs/busy
trap 'rm -f "$busy"' EXIT
# What `time` prints: seconds of wall clock, and of processor time in user and system mode.
TIMEFORMAT='%R %U %S'

failed=0
for ((run = 1; run <= runs; run++)); do
    log=$logs/$run.log how=alone core=()
    if ((run == runs)); then
        how='one core' core=(taskset -c 0)
    elif ((run % 2)); then
        how=busy
        touch "$busy"
        for _ in 1 2; do
            while [ -e "$busy" ] && kill -0 $$ 2>/dev/null; do :; done &
        done
    fi
    result=passed
    { time ${core[@]+"${core[@]}"} "$@" >"$log" 2>&1 || result=failed; } 2>"$logs/time"
    rm -f "$busy"
    wait
    awk -v run="$run/$runs" -v how="$how" -v result="$result" \
        '{ printf "%-7s %-8s  %s  wall %.1f s  CPU %.1f s\n", run, how, result, $1, $2 + $3 }' "$logs/time"
    if [ "$result" = failed ]; then
        failed=$((failed + 1))
        grep -E '^(FAILED|ERROR)' "$log" || tail -n 5 "$log"
    fi
done
if ((failed)); then
    printf '%d of %d runs failed; what they printed is in %s\n' "$failed" "$runs" "$logs" >&2
    exit 1
fi
rm -r "$logs"
