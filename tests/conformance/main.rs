//! One conformance suite for every backend.
//!
//! The cases are plain functions over an [`Environment`](backend::Environment) that hands out stores on a fresh database.
//! Each is listed once, below, and is a test per backend: `sqlite_file::append::rejects_a_stale_expected_version`. The
//! suite itself is tested in [`suite`]: by a store that does nothing, and by stores with one bug each.

#![deny(dead_code)] // a case that is not listed
#![allow(clippy::unwrap_used, reason = "these are tests, although clippy sees only functions")]

mod backend;
mod cases;
mod model;
mod quiet;
mod suite;
mod support;

/// Hands the list of all cases to a macro, after the arguments given for it.
macro_rules! with_cases {
    ($then:ident!($($arguments:tt)*)) => {
        with_cases_of_indexes! { $then!($($arguments)*
            append: assigns_contiguous_versions_from_one,
                returns_the_sequence_of_each_event,
                keeps_every_field_of_an_event,
                keeps_absent_fields_absent,
                counts_versions_per_aggregate,
                rejects_a_stale_expected_version,
                rejects_a_higher_expected_version,
                rejects_an_exact_version_of_a_missing_aggregate,
                no_stream_rejects_an_existing_aggregate,
                exact_zero_means_no_stream,
                exists_rejects_a_missing_aggregate,
                exists_accepts_an_existing_aggregate_at_any_version,
                any_is_never_a_conflict,
                a_refused_append_uses_up_no_version,
                reports_conflicts_beyond_version_10,
                reports_conflicts_beyond_version_1000,
                stores_a_batch_of_more_than_a_thousand_events,
                an_empty_append_is_a_no_op_that_succeeds,
                spans_several_aggregates,
                one_stale_member_writes_nothing_anywhere,
                one_member_of_another_type_writes_nothing_anywhere,
                an_empty_member_changes_nothing_for_the_others,
                refuses_the_same_aggregate_twice_in_one_append,
                refuses_the_same_event_id_twice_in_one_append,
                a_fault_at_event_k_leaves_nothing,
                a_fault_in_the_second_aggregate_leaves_nothing_of_the_first,
                refuses_versions_beyond_the_greatest,
                what_is_appended_is_read_at_once_through_another_store;
            idempotency: repeating_an_append_returns_the_original_result,
                repeating_succeeds_when_the_expected_version_is_stale,
                repeating_returns_the_original_result_after_reopening,
                repeating_more_than_a_thousand_events_returns_them_all,
                repeating_finds_events_that_others_were_stored_between,
                the_same_ids_in_another_order_are_refused,
                a_gap_in_the_repeated_ids_is_refused,
                partly_known_ids_are_refused_with_the_list,
                the_same_id_in_another_aggregate_is_refused,
                the_same_id_with_other_data_is_refused,
                the_same_id_with_other_context_is_refused,
                repeating_an_append_to_several_aggregates_returns_all_results,
                one_known_and_one_new_member_are_refused,
                a_refused_append_does_not_use_up_its_ids,
                threads_that_repeat_one_append_store_it_once;
            concurrency: threads_with_the_same_expected_version_elect_one_winner,
                threads_that_expect_no_stream_elect_one_winner,
                threads_with_any_all_succeed,
                threads_on_aggregates_of_their_own_do_not_conflict,
                losers_that_reload_and_retry_all_get_through,
                appends_to_the_same_aggregates_in_another_order_do_not_deadlock,
                each_of_many_threads_gets_its_own_answer,
                readers_never_see_a_part_of_an_append,
                a_consumer_that_polls_misses_nothing_and_repeats_nothing,
                consumers_that_read_a_few_events_at_a_time_miss_nothing,
                the_mark_never_goes_back_while_others_write,
                an_open_transaction_is_invisible_to_other_threads,
                the_first_event_of_a_fresh_database_is_not_skipped,
                a_late_commit_with_an_earlier_sequence_is_not_skipped,
                snapshots_of_many_threads_are_all_kept;
            ownership: an_id_of_another_type_is_refused,
                types_that_look_alike_are_different_types,
                loading_with_another_type_is_refused,
                an_id_of_another_tenant_is_refused,
                an_id_of_no_tenant_is_refused_to_every_tenant,
                a_tenant_learns_nothing_of_the_type_of_anothers_aggregate,
                an_id_stays_owned_when_threads_race_for_it,
                snapshots_of_another_type_or_tenant_are_refused;
            stream: loads_the_whole_stream_in_order,
                a_missing_aggregate_has_an_empty_stream_at_version_0,
                loads_from_a_version_inclusive,
                versions_0_and_1_both_mean_from_the_start,
                loads_a_range_of_versions_inclusive,
                a_part_beyond_the_end_is_empty_but_knows_the_version,
                loads_backwards,
                loads_the_last_n_newest_first,
                a_limit_counts_from_the_start_of_the_range,
                loads_a_stream_longer_than_a_page,
                the_version_is_known_without_loading,
                a_loaded_version_is_what_the_next_append_expects,
                a_stream_and_the_log_show_the_same_events;
            json: numbers_survive_with_their_checksum,
                numbers_read_back_are_the_very_numbers,
                strings_survive,
                any_json_value_can_be_data,
                spelling_and_order_of_keys_do_not_matter_to_the_checksum,
                the_checksum_is_sha_256_of_the_canonical_json,
                absent_metadata_is_not_empty_metadata,
                metadata_survives,
                the_size_is_in_bytes_not_characters,
                a_megabyte_of_data_survives,
                typed_data_is_read_back_as_the_type,
                data_of_another_type_is_a_decode_error_that_names_the_event;
            limits: a_nul_character_is_refused_unless_lifted,
                an_inexact_number_is_refused_unless_lifted,
                nesting_beyond_31_is_refused_unless_lifted,
                nesting_of_31_is_kept,
                a_key_beyond_65535_bytes_is_refused_unless_lifted,
                a_key_of_65535_bytes_is_kept,
                data_beyond_the_size_limit_is_refused,
                metadata_beyond_its_limits_is_refused,
                one_refused_event_refuses_the_whole_append,
                a_snapshot_beyond_the_limits_is_refused,
                names_of_255_characters_are_kept_whole,
                a_refused_append_dooms_its_transaction;
            integrity: verifies_an_intact_log_with_progress,
                verification_names_every_damaged_event_and_goes_on,
                verifies_a_part_of_the_log,
                data_that_is_no_json_any_more_is_damage,
                respelled_data_is_not_damage,
                every_read_verifies_if_told_to,
                a_read_within_a_transaction_verifies_if_told_to,
                no_read_verifies_unless_told_to,
                an_iterator_ends_after_the_damaged_page,
                a_damaged_snapshot_is_found_out;
            snapshots: a_snapshot_keeps_every_field,
                the_store_sets_the_time_of_a_snapshot,
                saving_at_the_same_version_replaces,
                saving_the_very_same_snapshot_again_is_harmless,
                two_snapshots_of_one_id_do_not_take_each_others_place,
                the_latest_is_that_of_the_greatest_version,
                an_older_snapshot_never_hides_a_newer_one,
                finds_the_latest_up_to_a_version_inclusive,
                finds_the_one_at_a_version,
                finds_the_latest_of_a_form,
                finds_the_latest_of_a_form_up_to_a_version_inclusive,
                another_form_at_the_same_version_stays_beside_it,
                a_snapshot_takes_no_id_of_another_form,
                deletes_every_form_of_a_version_and_keeps_the_last_of_those_of_the_newest,
                lists_the_newest_version_first,
                snapshots_of_aggregates_do_not_mix,
                another_type_finds_nothing,
                a_version_that_the_aggregate_does_not_have_is_refused,
                deletes_one,
                deletes_all_of_an_aggregate,
                deletes_those_before_a_version,
                keeps_the_latest_n,
                keeps_the_latest_n_of_a_form,
                deletes_those_older_than_a_time,
                deletes_every_snapshot,
                statistics_tell_what_there_is,
                snapshots_are_there_after_reopening,
                an_aggregate_is_rebuilt_from_a_snapshot_and_the_events_after_it,
                a_snapshot_comes_with_the_events_from_its_version_on,
                loading_another_type_is_refused_with_a_snapshot_too,
                a_tenant_loads_from_its_own_snapshots,
                a_snapshot_whose_events_are_gone_comes_with_none,
                what_is_loaded_from_a_snapshot_is_verified_if_told_to,
                a_snapshot_and_its_events_are_of_one_state_beside_busy_writers;
            aggregates: a_command_appends_what_it_decides,
                a_refusal_and_a_decision_for_nothing_append_nothing,
                a_conflict_is_decided_again_on_what_is_stored_by_then,
                conflicts_end_after_so_many_attempts,
                threads_that_execute_commands_lose_none,
                a_lost_answer_is_learnt_by_the_same_append_not_by_another_decision,
                a_command_with_an_id_acts_once,
                threads_that_repeat_commands_execute_each_once,
                a_command_that_another_decided_otherwise_is_recognised,
                a_command_behind_a_snapshot_is_recognised,
                a_command_behind_a_snapshot_and_the_mark_is_recognised,
                the_id_of_a_command_is_for_one_aggregate,
                an_event_causes_a_command_once,
                a_snapshot_is_due_when_a_multiple_is_passed,
                a_snapshot_saves_reading_the_events_before_it,
                an_aggregate_that_is_only_read_gets_a_snapshot,
                a_snapshot_that_cannot_be_used_changes_nothing,
                a_snapshot_of_another_form_is_passed_over_and_stays,
                two_versions_of_a_program_keep_each_its_snapshot_of_one_version,
                a_snapshot_beyond_the_end_of_the_events_is_not_trusted,
                a_failing_snapshot_store_changes_nothing,
                replaying_finds_snapshots_that_the_events_do_not_make,
                aggregates_belong_to_the_tenant_of_the_store,
                any_store_keeps_aggregates,
                older_names_and_forms_are_read,
                an_unknown_event_is_an_error_that_names_it,
                what_could_not_be_read_again_is_not_appended;
            transactions: commits_everything_together,
                an_error_rolls_everything_back,
                reads_its_own_appends,
                each_load_is_of_one_state_beside_busy_writers,
                expects_versions_that_it_appended_itself,
                a_failed_append_dooms_it,
                a_doomed_transaction_takes_no_more_appends,
                a_fault_of_the_database_dooms_it,
                the_callers_error_is_returned_even_if_an_append_failed,
                a_refusal_of_the_callers_own_type_rolls_everything_back,
                runs_its_work_once,
                a_panic_rolls_it_back_and_leaves_the_store_usable,
                recognises_an_append_that_was_stored_before,
                recognises_an_append_of_its_own,
                a_repeated_transaction_stores_nothing_twice,
                ids_that_were_rolled_back_can_be_appended,
                appends_to_several_aggregates_at_once,
                holds_many_appends,
                refuses_the_store_itself_to_its_own_thread,
                transactions_of_threads_do_not_mix;
            errors: a_conflict_names_the_operation_the_aggregate_and_both_versions,
                a_conflict_of_several_names_the_one,
                a_duplicate_lists_the_ids,
                a_type_mismatch_names_both_types,
                a_refused_snapshot_names_the_aggregate_and_the_version,
                a_failure_of_the_database_names_the_operation_and_keeps_its_source,
                input_that_is_refused_is_not_retryable;
            operate: imports_a_log_as_it_is,
                repeating_an_import_stores_nothing_twice,
                an_import_goes_on_where_another_was_cut_off,
                holes_in_a_log_are_imported_as_holes,
                what_is_appended_after_an_import_comes_after_it,
                a_consumer_sees_each_imported_event_once,
                an_import_before_the_end_of_the_log_is_refused,
                an_import_of_another_version_is_refused,
                an_import_into_anothers_aggregate_is_refused,
                an_import_of_ids_that_are_stored_is_refused,
                an_import_of_damaged_data_is_refused,
                an_import_beyond_the_limits_is_refused,
                an_import_in_another_order_is_refused,
                a_restored_log_is_the_log_at_that_point,
                lists_all_snapshots_page_by_page,
                prunes_snapshots_of_every_aggregate,
                an_audit_finds_nothing_wrong_with_an_intact_store,
                an_audit_names_every_damaged_event,
                an_audit_finds_versions_that_are_not_contiguous,
                an_audit_finds_a_missing_event,
                an_audit_finds_a_damaged_snapshot,
                an_audit_of_what_is_new_finds_what_is_new,
                an_audit_finds_a_log_that_is_not_the_remembered_one,
                maintenance_says_what_it_did_and_changes_nothing;
            consumers: a_consumer_begins_once_and_goes_on_where_it_is,
                a_consumer_with_another_definition_is_refused,
                a_consumer_may_start_where_another_is,
                threads_that_begin_a_consumer_at_once_begin_the_same,
                a_checkpoint_and_an_append_are_committed_together,
                a_slot_that_is_locked_is_moved_by_one_at_a_time,
                attempts_are_counted_until_the_checkpoint_moves,
                members_of_a_group_share_its_slots,
                a_lease_that_ran_out_is_taken_over_with_a_higher_token,
                members_that_are_gone_are_forgotten,
                threads_that_claim_at_once_get_no_slot_twice,
                parked_events_are_listed_in_their_order,
                reasons_of_every_kind_are_kept_as_far_as_they_go,
                consumers_whose_names_look_alike_are_different,
                a_consumer_of_a_tenant_stays_within_it,
                appends_wake_those_that_wait_for_events,
                slots_that_are_held_are_not_free;
            seals: a_seal_is_the_digest_of_an_export_up_to_it,
                sealing_again_seals_only_what_is_new,
                a_seal_that_there_is_stays,
                a_seal_that_is_stored_meanwhile_must_say_the_same,
                threads_that_seal_at_once_agree,
                an_audit_compares_the_log_with_its_seals,
                an_audit_names_the_part_that_is_not_what_was_sealed,
                nothing_is_sealed_on_top_of_what_is_not_as_sealed,
                damaged_events_are_not_sealed,
                a_diagnosis_tells_how_much_is_sealed,
                each_kind_of_tampering_is_found_by_what_the_reference_says,
                rewritten_seals_are_found_by_one_that_was_kept,
                a_seal_that_was_changed_or_deleted_does_not_blame_the_rest,
                a_snapshot_that_was_changed_or_moved_is_found_out,
                a_snapshot_with_a_checksum_of_old_is_accepted_and_told;
            health: a_working_store_is_healthy,
                a_store_with_a_schema_tells_its_version;
            schema: pending_shows_what_migrate_then_runs,
                migrating_again_does_nothing,
                migrating_at_once_runs_each_migration_once,
                opening_without_a_schema_is_refused,
                opening_an_older_schema_is_refused_until_it_is_migrated,
                opening_a_newer_schema_is_refused,
                an_altered_history_is_refused;
        ) }
    };
}

/// Hands those cases over in which events are found, which is where an index matters, or that there is none. The other cases go by the
/// unique indexes, which every store has: a backend that differs by its other indexes alone need not run them again.
macro_rules! with_cases_of_indexes {
    ($then:ident!($($arguments:tt)*)) => {
        $then! {
            $($arguments)*
            log: reads_the_log_in_the_order_of_appending,
                reads_after_a_sequence_exclusive_and_until_one_inclusive,
                reads_at_most_the_limit,
                reads_backwards,
                reads_backwards_from_beyond_the_end,
                pages_of_any_size_show_the_same_events,
                a_page_has_no_more_events_than_its_size,
                reads_a_log_of_many_pages,
                every_page_stops_at_the_mark_of_the_first,
                appending_while_iterating_is_safe,
                appending_while_iterating_backwards_is_safe,
                many_reads_can_be_open_at_once,
                resumes_at_every_checkpoint,
                resumes_at_a_hole,
                finds_an_event_by_its_id,
                pages_are_bounded_by_bytes,
                a_read_finds_what_was_appended_a_moment_ago,
                reading_beyond_the_end_is_told,
                a_log_that_was_cut_is_told;
            checkpoint: a_limit_skips_nothing,
                an_iterator_left_early_skips_nothing,
                an_end_skips_nothing,
                pages_skip_nothing,
                is_the_mark_once_the_log_is_exhausted,
                is_where_the_read_began_until_an_event_is_handed_out,
                does_not_move_in_another_order_until_the_log_is_exhausted,
                is_the_last_event_before_an_error;
            follow: hands_out_what_is_there_and_then_what_came,
                follows_on_from_its_checkpoint_wherever_it_ended,
                its_checkpoint_passes_what_was_not_asked_for,
                its_limit_counts_what_is_handed_out,
                a_tenant_follows_its_own_events,
                a_query_in_another_order_is_refused,
                events_that_are_gone_end_it;
            mark: is_zero_at_first_and_then_the_last_committed_sequence,
                comes_with_every_page,
                lets_a_filtered_consumer_advance,
                never_goes_back,
                is_not_held_up_by_a_rolled_back_transaction,
                is_the_same_for_every_store_on_the_database;
            filters: by_event_types,
                by_aggregate_types,
                by_aggregate_id,
                by_event_ids,
                by_thousands_of_event_ids,
                by_tenant,
                by_correlation_id,
                by_causation_id,
                by_creator,
                every_filter_that_is_set_must_match,
                an_event_that_matches_twice_is_returned_once,
                the_limit_counts_after_the_filters,
                an_empty_list_of_types_matches_nothing,
                event_types_that_look_alike_stay_distinct,
                aggregate_types_that_look_alike_stay_distinct,
                context_ids_that_look_alike_stay_distinct,
                by_metadata_containment,
                metadata_that_looks_alike_stays_distinct,
                metadata_keys_are_names_not_paths,
                metadata_numbers_are_equal_by_value,
                filters_combine_with_pages_and_time_order;
            time: a_time_survives_to_the_microsecond,
                a_time_is_kept_as_an_instant_in_utc,
                the_store_sets_a_time_of_microseconds_in_utc,
                a_time_query_answers_in_time_order_ties_by_sequence,
                a_time_query_answers_backwards,
                pages_in_time_order_split_ties_without_loss,
                bounds_of_time_are_inclusive_or_exclusive_as_given,
                bounds_of_time_may_be_as_far_as_time_goes,
                either_order_can_be_asked_for,
                a_time_query_stays_within_its_sequences_and_the_mark,
                recent_events_are_the_newest_first;
            as_of: at_a_version,
                at_a_time_inclusive,
                at_a_time_with_another_offset,
                a_time_ends_before_the_first_event_that_came_later,
                at_a_global_sequence_inclusive,
                combines_with_a_part_of_the_stream,
                a_missing_aggregate_was_never_there;
            tenants: appends_are_for_the_tenant,
                anothers_aggregate_is_empty_at_version_0,
                an_aggregate_of_no_tenant_is_empty_to_every_tenant,
                the_log_shows_only_the_tenants_own_events,
                anothers_event_is_not_found_by_its_id,
                anothers_event_id_is_refused,
                the_mark_is_that_of_the_whole_log,
                repeating_an_append_of_the_tenant_is_recognised,
                naming_another_tenant_is_refused,
                tenants_that_look_alike_stay_distinct,
                transactions_are_for_the_tenant,
                naming_another_tenant_dooms_the_transaction,
                statistics_count_only_the_tenants_own,
                summaries_show_only_the_tenants_own,
                snapshots_belong_to_the_tenant,
                deleting_snapshots_spares_those_of_others;
            statistics: an_empty_store_has_nothing_and_then_something,
                totals,
                the_distribution_of_event_types_with_percentages,
                the_activity_per_aggregate_type,
                the_event_statistics_by_type,
                sizes_are_counted_in_bytes,
                the_summary_of_each_aggregate_by_id,
                summaries_by_type_and_page,
                summaries_are_as_of_now_unless_the_last_refresh_is_asked_for,
                what_was_rolled_back_does_not_count;
        }
    };
}

/// As `with_cases!`, the cases that run consumers. They wait for what is to happen, which on a mutant never does: so they are not
/// among those for the tests of the suite itself.
macro_rules! with_cases_of_consumers {
    ($then:ident!($($arguments:tt)*)) => {
        $then! {
            $($arguments)*
            follow: waits_for_what_others_append,
                ends_by_itself_at_its_limit_or_its_end,
                a_stop_ends_the_wait,
                a_wait_ends_after_its_timeout_and_can_be_repeated,
                followers_beside_busy_writers_miss_nothing;
            control: a_status_tells_how_far_behind_a_consumer_is,
                a_status_tells_who_holds_the_slots_of_a_group,
                pausing_and_resuming_change_every_slot,
                a_consumer_that_is_moved_handles_again_or_leaves_out,
                parked_events_are_replayed_or_discarded_by_name;
            projections: everything_is_applied_once_in_order,
                the_checkpoint_passes_what_was_not_asked_for,
                what_fails_leaves_neither_the_read_model_nor_the_checkpoint_changed,
                a_panic_is_a_failure_of_its_event,
                runners_of_the_same_projection_apply_each_event_once,
                a_reset_while_it_runs_begins_anew,
                who_waits_after_a_reset_waits_until_all_is_applied_anew,
                a_projection_that_cannot_be_emptied_is_not_reset,
                the_same_name_with_another_query_is_refused,
                a_runner_follows_what_is_appended_and_tells_who_waits,
                a_poison_event_stops_its_projection_until_it_is_resumed,
                a_stopped_runner_tells_why_its_projections_had_stopped,
                a_poison_event_is_parked_with_all_later_ones_of_its_aggregate,
                an_aggregate_whose_parked_events_were_discarded_goes_on,
                an_outage_parks_nothing,
                an_event_whose_handling_takes_too_long_is_parked_at_last,
                events_that_take_too_long_together_are_applied_one_by_one,
                the_first_events_after_a_start_are_written_down_before_they_are_applied,
                events_that_a_process_may_have_ended_over_are_counted_one_by_one,
                an_event_that_processes_ended_over_stops_its_projection,
                an_event_that_processes_ended_over_is_parked_if_that_is_chosen,
                an_attempt_that_is_written_down_before_is_counted_once,
                who_stops_in_an_outage_leaves_no_attempt,
                a_parked_event_that_a_process_ends_over_stays_parked,
                a_paused_projection_waits_until_it_is_resumed,
                a_read_model_within_appends_is_never_behind_nor_followed,
                a_tenants_projection_appends_for_its_tenant,
                a_projection_that_follows_while_others_append_misses_nothing;
            subscriptions: every_event_is_handled_in_order,
                who_stops_goes_on_where_it_was,
                members_share_the_slots_and_a_new_one_gets_its_share,
                the_slots_of_a_member_that_is_gone_are_taken_over,
                who_lost_a_slot_cannot_move_its_checkpoint,
                a_failing_event_holds_up_its_own_slot_alone,
                a_poison_event_stops_its_slot_until_it_is_resumed,
                parked_events_are_handled_again_in_order,
                an_event_whose_handler_dies_with_its_process_is_parked_at_last,
                what_is_in_hand_when_a_subscription_is_moved_does_not_move_it,
                what_is_in_hand_when_a_subscription_is_paused_is_handled_again,
                what_others_are_to_handle_again_holds_nobody_up,
                who_stops_leaves_a_subscription_where_it_was_moved,
                a_slot_whose_event_is_in_hand_is_not_given_up,
                an_event_that_fails_is_tried_again_after_a_pause,
                no_event_is_begun_after_the_lease_ran_out,
                an_event_whose_handler_takes_too_long_is_parked_at_last,
                an_attempt_of_a_member_that_is_written_down_before_is_counted_once,
                events_of_a_batch_that_a_member_ended_over_are_counted_one_by_one,
                a_parked_event_that_a_member_ends_over_stays_parked,
                an_outage_while_a_parked_event_is_handled_again_counts_nothing,
                a_new_subscription_starts_where_it_is_told,
                a_lease_that_cannot_be_kept_is_refused,
                a_publisher_gets_batches_of_each_slot_in_order_until_they_are_confirmed,
                members_that_come_and_go_while_others_append_leave_nothing_out;
        }
    };
}

/// Each case as a test on one backend; the model too, unless the backend is what the model compares with.
macro_rules! tests {
    ($backend:ident $(with $model:ident)?: $($topic:ident: $($case:ident),+;)+) => {
        mod $backend {
            $(mod $topic {
                $(#[test]
                fn $case() {
                    if let Some(environment) = crate::backend::$backend().environment() {
                        crate::cases::$topic::$case(&*environment);
                    }
                })+
            })+

            $(mod $model {
                #[test]
                fn agrees_with_the_reference() {
                    crate::$model::agrees_with_the_reference(&crate::backend::$backend());
                }
            })?
        }
    };
}

with_cases!(tests!(memory:));
with_cases!(tests!(mariadb with model:));
with_cases_of_indexes!(tests!(mariadb_lean with model:));
with_cases!(tests!(mysql with model:));
with_cases_of_indexes!(tests!(mysql_lean with model:));
with_cases!(tests!(postgres with model:));
with_cases_of_indexes!(tests!(postgres_lean with model:));
with_cases!(tests!(sqlite_memory with model:));
with_cases_of_indexes!(tests!(sqlite_lean with model:));
with_cases!(tests!(sqlite_file with model:));

/// What consumers do depends on the database, not on its indexes.
mod running {
    with_cases_of_consumers!(tests!(memory:));
    with_cases_of_consumers!(tests!(mariadb:));
    with_cases_of_consumers!(tests!(mysql:));
    with_cases_of_consumers!(tests!(postgres:));
    with_cases_of_consumers!(tests!(sqlite_file:));
}

/// A case and what it is called.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    run: fn(&dyn backend::Environment),
}

macro_rules! list {
    ($($topic:ident: $($case:ident),+;)+) => {
        &[$($(Case {
            name: concat!(stringify!($topic), "::", stringify!($case)),
            run: cases::$topic::$case,
        },)+)+]
    };
}

/// Every case, for the tests of the suite itself.
const CASES: &[Case] = with_cases!(list!());

/// A backend that is required is known, and is there.
#[test]
fn every_required_backend_is_there() {
    // A browser is what the tests of the reports need, Redis is published to, and a cluster is a backend in the driver's own tests.
    let others = ["browser", "galera", "redis"];
    for name in backend::required()
        .into_iter()
        .filter(|name| !others.contains(&name.as_str()))
    {
        let known = [
            backend::memory(),
            backend::mariadb(),
            backend::mariadb_lean(),
            backend::mysql(),
            backend::mysql_lean(),
            backend::postgres(),
            backend::postgres_lean(),
            backend::sqlite_memory(),
            backend::sqlite_lean(),
            backend::sqlite_file(),
        ];
        let found: Vec<_> = known.iter().filter(|backend| backend.family == name).collect();
        assert!(
            !found.is_empty(),
            "REQUIRE_BACKENDS names {name}, which this suite does not know"
        );
        assert!(found.iter().all(|backend| backend.environment().is_some()));
    }
}
