//! Assay's promises, each shown with the real programs: containerd 1.6 and 2.x, docker-registry, cosign, notation, SoftHSM.
//! One file per promise, all in one program, because linking takes longer than most of the tests.

mod scene;

mod admitted_under_observe_is_judged_again;
mod broken_policy_keeps_the_last_good_one;
mod evidence_outlives_the_registry;
mod foreign_layers_are_not_unpacked;
mod key_worker_is_apart;
mod labels_are_never_believed;
mod log_tells_what_was_decided;
mod no_answer_is_no;
mod one_waits_and_others_go_on;
mod other_signatures_do_not_count;
mod signed_image_is_unpacked_and_runs;
mod snapshots_are_those_of_overlayfs;
mod survives_being_killed;
mod token_signs_what_others_verify;
mod unsigned_image_is_not_unpacked;
