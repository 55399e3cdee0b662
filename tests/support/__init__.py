"""What the tests share: a run directory, archives of every kind, a Slurm, and helpers of several test modules."""

import pytest

# So that an assertion that fails in them tells its values, as in a test.
pytest.register_assert_rewrite(
    "support.endings", "support.making", "support.site", "support.survey", "support.tar_making"
)
