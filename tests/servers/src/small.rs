//! A small file system, that a disk may be full.

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

/// Names the small file system to the process that has one.
const SMALL_FILE_SYSTEM: &str = "FIREFLY_TEST_SMALL_FILE_SYSTEM";

/// Runs `work` with the directory of a file system of this size, in a process of its own in which the test of that name, the
/// one that calls this, is run again. Where nothing can be mounted, that is printed instead; with `CI` set, it is a failure.
///
/// # Panics
///
/// The test fails there; its output is printed.
pub fn on_a_small_file_system(test: &str, mebibytes: u32, work: impl FnOnce(&Path)) {
    if let Some(directory) = env::var_os(SMALL_FILE_SYSTEM) {
        return work(Path::new(&directory));
    }
    // Where a server's user may look, too.
    let directory = tempfile::tempdir_in("/tmp").unwrap_or_else(|error| panic!("no directory can be made: {error}"));
    let mount = format!("mount -t tmpfs -o size={mebibytes}m,mode=777 none \"$0\" && exec \"$@\"");
    // What runs in it alone sees the file system, which is gone with it, however it ends.
    let in_namespace = |starter: &[&str]| {
        let mut command = Command::new(starter[0]);
        command
            .args(&starter[1..])
            .args(["sh", "-c", &mount])
            .arg(directory.path())
            .env(SMALL_FILE_SYSTEM, directory.path());
        command
    };
    for starter in [
        &["unshare", "--mount"][..],
        &["sudo", "--non-interactive", "--preserve-env", "unshare", "--mount"],
    ] {
        let probe = in_namespace(starter).arg("true").output();
        if probe.is_ok_and(|output| output.status.success()) {
            let this = env::current_exe().unwrap_or_else(|error| panic!("this program cannot be found: {error}"));
            let mut command = in_namespace(starter);
            let output = command.arg(this).args(["--exact", test, "--nocapture"]).output();
            let output = output.unwrap_or_else(|error| panic!("{test} cannot be run again: {error}"));
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success(),
                "{said}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(said.contains("1 passed"), "there is no test {test}: {said}");
            return;
        }
    }
    let reason = "a file system of its own needs unshare and the right to mount";
    assert!(env::var_os("CI").is_none(), "{test} must be tried here: {reason}");
    // Past the test runner, which keeps the output of tests that pass.
    let _ = writeln!(io::stderr().lock(), "NOT TRIED: {test}: {reason}");
}
