//! A small file system, for tests with a full disk.

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

/// The variable with the path of the small file system, in the process that has one.
const SMALL_FILE_SYSTEM: &str = "FIREFLY_TEST_SMALL_FILE_SYSTEM";

/// Runs `work` with the directory of a file system of this size. For that, it runs the calling test, which has the name `test`, again in
/// another process. If no file system can be mounted, prints that instead; with `CI` set, panics.
///
/// # Panics
///
/// If the test fails there. Its output is printed.
pub fn on_a_small_file_system(test: &str, mebibytes: u32, work: impl FnOnce(&Path)) {
    if let Some(directory) = env::var_os(SMALL_FILE_SYSTEM) {
        return work(Path::new(&directory));
    }
    // In a directory that a server's user may read, too.
    let directory = tempfile::tempdir_in("/tmp").unwrap_or_else(|error| panic!("no directory can be made: {error}"));
    let mount = format!("mount -t tmpfs -o size={mebibytes}m,mode=777 none \"$0\" && exec \"$@\"");
    // Only processes in the namespace see the file system. It disappears with the namespace.
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
    // Written directly, because the test runner hides the output of passing tests.
    let _ = writeln!(io::stderr().lock(), "NOT TRIED: {test}: {reason}");
}
