//! A private server as a process: its directory, its user, its log, its signals.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crate::Disk;
use crate::patience::{PATIENCE, POLL};
use crate::watchdog::Watchdog;

/// What must be known about a kind of server to start one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Its name in messages.
    pub(crate) name: &'static str,
    /// The prefix of its directory's name.
    pub(crate) prefix: &'static str,
    /// If this process is root, the server runs as the first of these users that exists, because servers refuse to run as root.
    pub(crate) users: &'static [&'static str],
    /// The signal that ends it, and all its processes, at once.
    pub(crate) end: &'static str,
}

/// A server in a directory of its own. Dropping this ends the server and removes the directory.
#[derive(Debug)]
pub(crate) struct Service {
    kind: Kind,
    /// The user that it runs as, if another one than this process.
    user: Option<User>,
    /// The environment variables of its process.
    variables: Vec<(&'static str, OsString)>,
    directory: PathBuf,
    id: u32,
    process: Mutex<Process>,
}

#[derive(Debug)]
struct Process {
    child: Option<Child>,
    watchdog: Watchdog,
}

impl Service {
    /// Creates the directory. Other users cannot read it.
    pub(crate) fn new(kind: Kind) -> Result<Self, String> {
        // The path of a socket must be short, and the usual temporary directory may have a long one.
        Self::new_in(Path::new("/tmp"), kind)
    }

    /// Creates the directory in memory, if that has room for several: for a server whose disk does not matter to tests. Each server creates
    /// and removes thousands of files.
    pub(crate) fn in_memory(kind: Kind) -> Result<Self, String> {
        const MEMORY: &str = "/dev/shm";
        const ROOM: u64 = 4 << 30;
        let room = rustix::fs::statvfs(MEMORY).map_or(0, |memory| memory.f_bavail * memory.f_frsize);
        if room.min(available_memory()) < ROOM {
            return Self::new(kind);
        }
        Self::new_in(Path::new(MEMORY), kind)
    }

    /// Creates the directory in another one, which the server's user may read.
    pub(crate) fn new_in(parent: &Path, kind: Kind) -> Result<Self, String> {
        let directory = tempfile::Builder::new()
            .prefix(kind.prefix)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(|error| format!("no directory can be made: {error}"))?;
        let watchdog = Watchdog::new(directory.path(), kind.end)?;
        let directory = directory.keep();
        let io = |error| format!("{}: {error}", directory.display());
        let user = match fs::metadata(&directory).map_err(io)?.uid() {
            0 => Some(User::of(kind)?),
            _ => None,
        };
        let service = Self {
            kind,
            user,
            variables: Vec::new(),
            id: watchdog.id(),
            process: Mutex::new(Process { child: None, watchdog }),
            directory,
        };
        service.own(&service.directory)?;
        Ok(service)
    }

    /// Adds variables to the environment of the server's process, but not of other [commands](Self::command).
    pub(crate) fn with_variables(mut self, variables: impl IntoIterator<Item = (&'static str, OsString)>) -> Self {
        self.variables.extend(variables);
        self
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A number that no other server on this machine has while this one exists: the process id of its watchdog.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Gives a file or a directory to the server's user.
    pub(crate) fn own(&self, path: &Path) -> Result<(), String> {
        match &self.user {
            Some(user) => {
                chown(path, Some(user.uid), Some(user.gid)).map_err(|error| format!("{}: {error}", path.display()))
            }
            None => Ok(()),
        }
    }

    /// A command that runs as the server's user.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.directory); // the user may not be allowed to be where this process is
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Starts the server and waits until it answers. With `again`, starts it again if it ends.
    pub(crate) fn run(
        &self,
        again: bool,
        server: impl Fn() -> Command,
        answers: impl Fn() -> bool,
    ) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let mut process = self.process();
        loop {
            let child = match process.child.take() {
                Some(child) => process.child.insert(child),
                None => {
                    let child = self.spawn(server())?;
                    process.watchdog.watch(child.id())?;
                    process.child.insert(child)
                }
            };
            let ended = child.try_wait().map_err(|error| error.to_string())?.is_some();
            if ended {
                process.child = None;
            } else if answers() {
                return Ok(());
            }
            if (ended && !again) || Instant::now() > deadline {
                return Err(format!("{} does not start:\n{}", self.kind.name, self.log()));
            }
            thread::sleep(if ended { POLL * 10 } else { POLL });
        }
    }

    fn spawn(&self, mut server: Command) -> Result<Child, String> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.join("log"));
        let log = log.map_err(|error| format!("no log can be written: {error}"))?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        server
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0) // an interrupt is for the tests
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", server.get_program().display()))
    }

    /// Sends a signal. Returns whether the server ended.
    pub(crate) fn kill(&self, signal: &str) -> bool {
        let mut process = self.process();
        let Some(child) = &mut process.child else {
            return true;
        };
        send(signal, &child.id().to_string());
        let deadline = Instant::now() + PATIENCE;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(POLL);
        }
        process.child = None;
        true
    }

    /// Cuts the power of the server and of its disk. Returns whether the server and all its processes ended.
    pub(crate) fn cut_power(&self, disk: &Disk) -> bool {
        let pid = self.process().child.as_ref().map(Child::id);
        let children = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok());
        let gone = self.kill("KILL");
        let children = children.unwrap_or_default();
        // A process that waits for its disk does not notice that its parent ended.
        send("KILL", &children);
        let deadline = Instant::now() + PATIENCE;
        while children.split(' ').any(|child| !child.is_empty() && is_running(child)) {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(POLL);
        }
        disk.cut(&self.directory);
        gone
    }

    /// The server's log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Linux's estimate, in bytes.
fn available_memory() -> u64 {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = available.and_then(|available| available.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.map_or(0, |kibibytes| kibibytes << 10)
}

fn send(signal: &str, pids: &str) {
    let kill = format!("kill -{signal} {pids}");
    let _ = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status();
}

/// Whether a process runs. A zombie does not count, because not every init process reaps orphans.
fn is_running(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|status| !status.contains(") Z "))
}

impl Drop for Service {
    fn drop(&mut self) {
        // The watchdog, which is dropped next, removes the directory, and ends the server if it has not ended.
        self.kill(self.kind.end);
    }
}

#[derive(Debug)]
struct User {
    uid: u32,
    gid: u32,
}

impl User {
    fn of(kind: Kind) -> Result<Self, String> {
        let users = fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
        kind.users
            .iter()
            .find_map(|name| Self::named(name, &users))
            .ok_or_else(|| {
                let users = kind.users.join(" or ");
                format!("{} refuses to run as root, and there is no user {users}", kind.name)
            })
    }

    fn named(name: &str, users: &str) -> Option<Self> {
        users.lines().find_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let found = fields.len() > 3 && fields[0] == name;
            found.then(|| {
                Some(Self {
                    uid: fields[2].parse().ok()?,
                    gid: fields[3].parse().ok()?,
                })
            })?
        })
    }
}
