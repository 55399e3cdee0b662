"""The recipes of images; that for buildah is built and used by .ci/container."""

from __future__ import annotations

import re

from support.site import HERE


def test_both_recipes_begin_with_the_same_base_and_take_the_same_steps_with_the_same_files() -> None:
    oci, apptainer = [(HERE / "containers" / name).read_text() for name in ("Containerfile", "apptainer.def")]
    base, files, steps = re.search(r"ARG BASE=(\S+)\n.*COPY (.*) /tmp/retrieve/\nRUN (.*?)\n", oci, re.DOTALL).groups()
    assert re.search("^From: (.*)", apptainer, re.MULTILINE)[1] == base
    assert re.findall("^    (.*) /tmp/retrieve/$", apptainer, re.MULTILINE) == files.split()
    assert re.search("^%post\n    (.*)", apptainer, re.MULTILINE)[1] == steps
    assert re.findall("^!(.*)", (HERE / ".dockerignore").read_text(), re.MULTILINE) == files.split()
