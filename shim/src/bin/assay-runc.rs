//! The run gate as a program: containerd's shim calls it as its OCI runtime; it judges what starts, and becomes the real one.

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt,
    panic::catch_unwind,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use assay_shim::{Arguments, Call, LogPlace, RunConfig, RunGate, deny, node_root};

/// Where a node below another root than `/` has its copy of this program.
const FOLDER: &str = "usr/lib/assay/bin";

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let (log, settled) = match catch_unwind(|| Arguments::read(&words)) {
        Ok(Arguments { log, call }) => {
            let settled = call.map_err(|error| format!("assay: the runtime's arguments are not understood: {error}"));
            // Whatever goes wrong, a panic too, ends here as a refusal.
            let settled = settled.and_then(|call| catch_unwind(|| settle(&call)).unwrap_or_else(|_| Err(panicked())));
            (log, settled)
        }
        Err(_) => (LogPlace::default(), Err(panicked())),
    };
    let refusal = match settled {
        Ok(runtime) => {
            let error = Command::new(&runtime).args(&words).exec();
            format!("assay: {} cannot be run: {error}", runtime.display())
        }
        Err(refusal) => refusal,
    };
    deny(&log, &refusal);
    ExitCode::FAILURE
}

/// The real runtime, if it may do what it is called for.
fn settle(call: &Call) -> Result<PathBuf, String> {
    let said = |what: &str, error: &dyn std::fmt::Display| format!("assay: failed to {what}: {error}");
    let root = node_root(FOLDER).map_err(|error| said("find this program", &error))?;
    let config = RunConfig::load(&root).map_err(|error| said("load configuration", &error))?;
    let own = Path::new("/proc/self/exe");
    let runtime = config.real_runtime(own).map_err(|error| said("find the runtime", &error))?;
    match call {
        Call::Other => {}
        Call::Start(start) => {
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let tokio = tokio.map_err(|error| said("start", &error))?;
            tokio.block_on(async { RunGate::new(&config).admit(start).await })?;
        }
    }
    Ok(runtime)
}

fn panicked() -> String {
    "assay: INTERNAL: Assay failed while judging it (the run gate panicked); look at standard error and report it"
        .to_owned()
}
