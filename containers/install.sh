#!/bin/sh
# install.sh: the steps of both recipes, as root in a Debian. Beside this file are requirements.txt and the wheel.
set -eu

cd "$(dirname "$0")"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends make python3-venv >/dev/null
python3 -m venv /opt/retrieve
# The versions that were tested, and nothing but those.
for what in '--require-hashes -r requirements.txt' ./*.whl; do
    # shellcheck disable=SC2086 # the options are words
    /opt/retrieve/bin/python -m pip install -q --no-cache-dir --disable-pip-version-check --no-deps $what
done
for command in retrieve canfar_avail_results canfar_download_results untar_results vospace-demo cadc-get-cert; do
    ln -s "/opt/retrieve/bin/$command" /usr/local/bin/
done
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
