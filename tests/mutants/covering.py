"""Which tests cover which modules: those of the same room, and others that drive a module; the fastest first.

Each is a file, or one test of it after two colons. A mutant that none of them kills is a survivor, although some other
test of the suite might fail. A module is entered here once its survivors are killed or explained.
"""

from __future__ import annotations


def _of(file: str, *tests: str) -> list[str]:
    return [f"{file}::{test}" for test in tests]


_BAD_DISK = _of(
    "delivery/test_local_faults.py",
    "test_a_disk_that_fails_leaves_nothing_that_is_not_on_it",
)
_UNPACKING = [
    *_of(
        "output/test_unpack_hostile.py",
        "test_what_is_hostile_or_broken_is_refused_where_it_is_unpacked",
        "test_what_is_no_file_is_refused_also_where_it_is_not_asked_for",
        "test_a_member_is_blamed_for_what_it_is_to_blame_for",
        "test_where_a_link_leads_is_told_unless_it_leads_out_or_through_another",
        "test_a_stream_is_read_as_far_as_its_size_allows",
        "test_what_is_beyond_the_limits_is_refused",
        "test_what_is_just_within_the_limits_is_unpacked",
    ),
    *_of(
        "output/test_real_archives.py",
        "test_a_hard_link_before_its_file_becomes_a_copy",
        "test_only_what_is_selected_is_made_and_the_rest_that_links_lead_to_is_told",
        "test_apple_double_companions_are_no_data",
        "test_what_comes_of_an_odd_archive_is_what_comes_with_tar",
        "test_sparse_files_are_unpacked_with_their_holes",
        "test_what_pigz_makes_is_read",
        "test_memory_does_not_grow_with_what_follows_a_gzip_member",
        "test_a_gzip_member_may_begin_anywhere",
        "test_the_archive_of_every_kind_that_cpython_ships_is_read_as_tar_reads_it",
    ),
    "output/test_unpack.py::test_refusals_name_the_member",
    "output/test_unpack_fits.py::test_files_with_a_loose_end_are_unpacked_and_counted",
]
_PLACING = [
    "output/test_placing.py",
    *_of(
        "output/test_unpack.py",
        "test_removing_what_is_obsolete_spares_the_files_of_another_tile",
        "test_of_two_archives_of_a_tile_with_the_same_path_the_newer_file_wins",
        "test_a_tile_that_fails_keeps_its_archives",
        "test_products_left_out_now_keep_their_files",
        "test_archives_unpacked_earlier_are_freed_when_asked",
        "test_a_killed_replacement_leaves_no_file_of_the_older_one",
        "test_a_newer_archive_leaves_no_file_of_the_older_one",
        "test_of_two_archives_with_the_same_path_the_newer_file_wins",
    ),
    *_of(
        "output/test_unpack_hostile.py",
        "test_a_symbolic_link_in_the_output_tree_is_not_followed",
    ),
    *_of(
        "host/test_on_disk.py",
        "test_what_was_unpacked_is_on_disk_before_it_is_listed_and_placed_and_the_stamp_before_an_archive_goes",
    ),
]

_STAGING = [
    "output/test_staging.py",
    "output/test_placing.py",
    *_of(
        "output/test_unpack.py",
        "test_a_tile_that_fails_keeps_its_archives",
        "test_an_archive_without_any_file_is_a_warning_with_a_count",
        "test_products_left_out_now_keep_their_files",
        "test_a_newer_archive_leaves_no_file_of_the_older_one",
        "test_an_archive_without_its_file_is_told_as_long_as_it_is_so",
        "test_a_quota_that_is_used_up_meanwhile_is_met_as_a_full_disk_is",
    ),
    "output/test_real_disks.py::test_what_cannot_be_removed_is_named",
    "output/test_only.py::test_a_selected_link_brings_the_file_that_it_leads_to",
]

#: By module below `lib/retrieve`, in the order in which `make mutants` takes them.
COVERED_BY = {
    "decisions.py": ["words/test_decisions.py"],
    "delivery/transfer.py": ["delivery/test_transfer.py"],
    "delivery/part.py": ["delivery/test_part.py", "delivery/test_transfer.py", "host/test_on_disk.py", *_BAD_DISK],
    "stamps/stamps.py": ["stamps/test_stamps.py", "host/test_on_disk.py"],
    "stamps/lines.py": ["stamps/test_stamps.py"],
    "output/unpack.py": _UNPACKING,
    "output/placing.py": _PLACING,
    "output/staging.py": _STAGING,
    "output/extraction.py": [
        "output/test_extraction.py",
        "output/test_unpack_hostile.py::test_force_lifts_the_limits",
        "output/test_unpack.py::test_an_archive_without_any_file_is_a_warning_with_a_count",
        *_of(
            "commands/test_power_cuts.py",
            "test_what_a_killed_run_left_unsynced_is_on_disk_before_an_archive_is_deleted",
        ),
    ],
    "output/claims.py": [*_PLACING, "output/test_only.py"],
    "output/tree.py": [
        "output/test_tree.py",
        "output/test_placing.py",
        *_of("output/test_unpack.py", "test_a_newer_archive_leaves_no_file_of_the_older_one"),
        *_of("output/test_unpack_hostile.py", "test_a_symbolic_link_in_the_output_tree_is_not_followed"),
        *_of(
            "output/test_real_disks.py",
            "test_an_output_directory_stays_what_it_is_and_passes_on_what_it_has",
            "test_an_output_tree_may_be_a_mount_point_and_span_file_systems",
            "test_an_output_tree_behind_a_link_is_followed_and_no_link_in_it",
        ),
        *_UNPACKING,
    ],
    "formats/gunzip.py": _UNPACKING,
    "formats/tar.py": ["formats/test_tar.py", *_UNPACKING],
    "host/lock.py": ["host/test_lock.py"],
    "host/disk.py": ["host/test_disk.py"],
    "delivery/plan.py": ["delivery/test_plan.py"],
    "delivery/gate.py": _of(
        "delivery/test_gate.py",
        "test_no_more_pass_than_the_window_says_and_none_after_a_stop",
        "test_what_is_refused_is_told_and_halves_the_number_if_it_may_have_been_too_much",
    ),
    "delivery/window.py": ["delivery/test_window.py"],
    "delivery/pool.py": ["delivery/test_pool.py"],
}
