//! Assay's promises, each shown with the real programs: containerd 1.6 and 2.x, docker-registry, cosign, notation, SoftHSM.
//! One file per promise, all in one program, because linking takes longer than most of the tests.

mod peer;
mod required_attestations_must_be_there;
mod revoked_certificates_are_refused;
mod scene;

mod admitted_under_observe_is_judged_again;
mod agent_has_no_network;
mod another_port_is_another_registry;
mod attestations_are_verified_by_type;
mod bodies_are_judged_whole;
mod broken_policy_keeps_the_last_good_one;
mod catalogue_names_tests_that_exist;
mod cosign_signatures_are_verified;
mod evidence_outlives_the_registry;
mod floods_are_survived;
mod foreign_layers_are_not_unpacked;
mod full_disk_admits_nothing;
mod gates_report_what_they_refuse;
mod key_worker_is_apart;
mod keyless_signatures_are_admitted_by_identity;
mod keys_sign_only_what_they_are_for;
mod labels_are_never_believed;
mod log_tells_what_was_decided;
mod many_images_on_one_base;
mod names_lead_to_no_file;
mod no_answer_is_no;
mod notation_signatures_are_verified;
mod nothing_else_is_started;
mod one_waits_and_others_go_on;
mod other_signatures_do_not_count;
mod pods_are_judged_container_by_container;
mod prefix_of_an_image_is_another_image;
mod pull_gate_refuses_before_anything_is_fetched;
mod pull_gate_that_is_left_out_opens_nothing;
mod refusals_say_what_to_do;
mod signed_image_is_unpacked_and_runs;
mod snapshots_are_those_of_overlayfs;
mod sockets_serve_their_own_peers;
mod stopped_programs_admit_nothing;
mod survives_being_killed;
mod token_signs_what_others_verify;
mod trial_node_ends_whole;
mod trust_root_is_refreshed_and_never_rolled_back;
mod unsigned_image_is_not_unpacked;
mod verifiers_agree;
