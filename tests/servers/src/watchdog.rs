//! What stops a server and removes its directory when the process that started it is gone.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Its input ends when the process that holds the other end dies, by whatever signal; until then it is told the server's
/// process each time that one is started. A zombie counts as gone: not everything that adopts orphans buries them.
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

/// Guards one server. Dropping it makes it do its work and waits for that.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// Guards a directory, and the server in it that [`watch`](Self::watch) names and the signal `end` ends.
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

    /// Its own process.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// From now on this process is the server.
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
