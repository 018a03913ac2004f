//! Stops a server and removes its directory when the process that started it has ended.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The script's input ends when the process at the other end dies, by whatever signal. Before that, it reads the
/// process id of each server that is started. A zombie counts as ended: not every init process reaps orphans.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
directory=$1
end=$2
pid=
while read -r line; do pid=$line; done
alive() {
    [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || return 1
    case $(cat "/proc/$pid/stat" 2>/dev/null) in *") Z "*) return 1 ;; esac
}
alive && kill -"$end" "$pid"
tries=0
while alive && [ $tries -lt 200 ]; do sleep 0.05; tries=$((tries + 1)); done
alive && kill -KILL "$pid"
tries=0
rm -rf "$directory" 2>/dev/null
# Whoever still writes there, as a backend that has not noticed yet, may make rm fail.
while [ -e "$directory" ] && [ $tries -lt 200 ]; do
    sleep 0.05
    tries=$((tries + 1))
    rm -rf "$directory" 2>/dev/null
done
"#;

/// Guards one server. Dropping it ends the server, and waits for that.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// Guards a directory, and the server in it that [`watch`](Self::watch) names. `end` is the signal that ends the
    /// server.
    pub(crate) fn new(directory: &Path, end: &str) -> Result<Self, String> {
        Command::new("sh")
            .args(["-c", SCRIPT, "watchdog"])
            .arg(directory)
            .arg(end)
            .current_dir("/")
            .stdin(Stdio::piped()) // the end that stays here is closed on exec, so that no other child keeps it open
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // what kills the group of the tests spares it
            .spawn()
            .map(Self)
            .map_err(|error| format!("sh cannot be started: {error}"))
    }

    /// The id of its own process.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sets the server's process id.
    pub(crate) fn watch(&mut self, pid: u32) -> Result<(), String> {
        let input = self.0.stdin.as_mut().ok_or("the watchdog has no input")?;
        writeln!(input, "{pid}").map_err(|error| format!("the watchdog is gone: {error}"))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
