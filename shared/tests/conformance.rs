//! One suite of tests, run for every implementation of the store.

#[cfg(test)]
mod suite;

/// Passes every test of the suite to the macro `$run`, with its argument.
macro_rules! suite_tests {
    ($run:ident, $argument:expr) => {
        $run! { $argument;
            queue: a_position_counts_the_jobs_ahead, a_repeated_submit_is_a_duplicate,
                another_request_under_the_same_id_conflicts, a_full_queue_still_recognises_its_jobs,
                a_full_queue_says_how_long_its_jobs_take,
                classes_before_arrivals, a_repeated_claim_gets_the_same_lease, an_old_claim_number_gets_nothing,
                a_claim_number_is_forgotten_with_the_lease, apps_do_not_share_jobs, a_long_queue_of_one_app_delays_no_other, workers_are_known_for_a_minute,
                a_forgotten_id_can_be_used_again, state_tells_the_whole_story,
                an_event_is_read_only_for_those_who_show_it, all_callers_get_the_same_secret;
            needs: a_worker_passes_over_what_it_cannot_do, affinity_chooses_from_what_a_worker_can_do,
                a_job_that_no_worker_can_do_waits_for_its_deadline, a_requeue_and_a_retry_keep_what_a_job_needs,
                a_long_queue_of_other_jobs_hides_no_job;
            fair: many_jobs_of_one_tenant_do_not_delay_another, twice_the_weight_is_twice_the_share,
                an_idle_tenant_saves_nothing_up, one_tenants_jobs_keep_their_order, a_class_comes_before_a_share;
            affinity: a_worker_gets_what_it_has_loaded, a_worker_chooses_from_the_first_few,
                no_head_is_passed_over_for_ever;
            fence: a_stale_worker_is_rejected_before_the_next_claim,
                a_stale_worker_is_rejected_after_the_next_claim, another_worker_with_the_same_attempt_is_lost,
                a_repeated_preview_is_written_once, a_preview_with_a_wrong_number_writes_nothing,
                the_log_keeps_the_newest_previews, a_finish_with_a_wrong_number_finds_the_right_one,
                a_repeated_finish_is_finished, a_repeated_release_is_lost, a_publish_renews_the_lease;
            ending: one_terminal_event_and_the_log_is_it_alone,
                a_waiting_job_is_cancelled_at_once, a_running_job_is_cancelled_and_its_worker_told,
                cancelling_twice_is_no_error, a_job_that_no_worker_claims_times_out, a_job_that_takes_too_long_times_out,
                a_run_deadline_is_never_reset, a_lost_worker_gives_its_job_back_in_its_place,
                a_late_reap_does_nothing, three_faults_kill_a_job, drains_do_not_count, reaping_looks_again;
            early: a_worker_is_told_to_finish_early, a_job_finishes_early_only_after_its_first_step,
                a_job_without_previews_finishes_early_as_soon_as_it_runs,
                a_request_to_finish_early_outlives_the_attempt, the_first_end_wins_over_a_request_to_finish_early,
                a_job_is_read_as_it_was_submitted;
            checkpoint: a_lost_workers_checkpoint_goes_to_the_next, a_renewal_with_a_checkpoint_is_a_renewal,
                a_drained_job_keeps_its_checkpoint, a_fault_takes_the_checkpoint_with_it,
                a_stale_worker_cannot_store_a_checkpoint, no_checkpoint_outlives_its_job,
                the_largest_checkpoint_arrives_whole;
            dead: the_dead_are_listed_newest_first, a_dead_job_is_retried_as_a_new_one,
                a_retry_asked_for_many_times_is_one_job, only_the_dead_are_retried,
                a_retried_job_that_dies_is_retried_again, a_retry_into_a_full_queue_changes_nothing;
            list: a_tenant_sees_its_own_jobs_newest_first, a_list_goes_on_after_its_last_job,
                only_the_newest_jobs_are_listed, a_forgotten_job_is_not_listed, positions_are_those_of_the_queue,
                a_queue_has_a_length_and_a_pace, the_oldest_job_of_a_queue_may_be_of_any_class;
            quota: a_tenant_has_no_more_jobs_than_its_quota, every_way_to_end_gives_the_place_back,
                a_quota_is_for_all_apps_together, jobs_without_a_key_are_not_counted;
            follow: a_follower_sees_everything_in_order,
                a_follower_that_returns_misses_and_repeats_nothing, a_late_follower_gets_the_terminal_event_alone,
                a_job_that_never_was_is_lost, a_cursor_from_the_future_is_a_gap,
                many_followers_see_the_same, a_give_back_is_followed_through, a_forgotten_job_ends_its_stream,
                a_big_event_arrives_whole;
            partials: newer_previews_replace_no_partial_picture, partial_pictures_outlive_the_end,
                a_partial_picture_is_written_once_by_any_attempt,
                a_partial_picture_with_a_wrong_number_finds_the_right_one;
            wake: a_submit_wakes_a_waiting_worker, a_give_back_wakes_a_waiting_worker,
                ten_jobs_wake_ten_workers, a_token_passed_on_wakes_another,
                a_job_wakes_a_worker_that_can_do_it, a_worker_that_can_do_nothing_sleeps_on,
                a_mixed_fleet_makes_all_its_jobs;
            webhook: a_webhook_is_called_only_after_the_end, every_way_to_end_makes_the_delivery_due,
                one_process_calls_a_webhook_and_another_takes_over, an_acknowledged_webhook_is_not_called_again,
                a_failed_try_is_repeated_with_longer_waits_and_then_given_up, tries_without_a_report_are_bounded_too,
                a_retried_job_has_a_delivery_of_its_own, a_deleted_job_is_not_called,
                the_webhooks_that_wait_longest_come_first, all_processes_sign_with_the_same_seed;
        }
    };
}

/// Makes each suite test a separate test, with its own fixture.
macro_rules! separate_tests {
    ($fixture:expr; $($module:ident: $($test:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let fixture = $fixture.await;
                crate::suite::$module::$test(&fixture).await;
            }
        )+)+
    };
}

/// Runs all suite tests in one test, because the servers take long to start.
macro_rules! one_test {
    ($servers:expr; $($module:ident: $($test:ident),+;)+) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn every_story() {
            let servers = $servers;
            $($(
                println!("{}", stringify!($test));
                let fixture = servers.fixture(stringify!($test)).await;
                crate::suite::$module::$test(&fixture).await;
            )+)+
        }
    };
}

mod memory {
    suite_tests!(separate_tests, crate::suite::memory());
}

mod redis {
    suite_tests!(separate_tests, crate::suite::redis::on_a_server());
}

mod redis_cluster {
    suite_tests!(one_test, crate::suite::redis::Cluster::start());
}

mod redis_user {
    suite_tests!(one_test, crate::suite::redis::Users::start());
}
