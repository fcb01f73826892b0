//! The pull gate as a program of containerd's image verifier directory. Exit 0 lets containerd fetch the image; anything else
//! does not, and what stands on standard output is the reason that the user sees.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use assay_shim::{PullAnswer, judge_pull, node_root, refuse_without_root};

/// Where the programs of the directory are, below the node's root.
const FOLDER: &str = "usr/lib/assay/image-verifier.d";

fn main() -> ExitCode {
    let answer = match node_root(FOLDER) {
        Ok(root) => judge_pull(&root, std::env::args_os().skip(1).collect(), io::stdin()),
        Err(error) => refuse_without_root(&error),
    };
    let (text, code) = match answer {
        PullAnswer::Admitted(text) => (text, ExitCode::SUCCESS),
        PullAnswer::Refused(text) => (text, ExitCode::FAILURE),
    };
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}
