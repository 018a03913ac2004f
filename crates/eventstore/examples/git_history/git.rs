//! A repository, and its history from `git log`, which is read as a stream and never held as a whole.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::Result;

#[derive(Debug)]
pub(crate) struct Repository {
    path: Option<PathBuf>,
    head: String,
}

#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) id: String,
    /// Seconds since 1970. Git accepts any number.
    pub(crate) committed: i64,
    pub(crate) author_name: Vec<u8>,
    pub(crate) author_mail: Vec<u8>,
    pub(crate) subject: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Change {
    /// Git's letter: `A`dded, `M`odified, `D`eleted, `T`ype changed.
    pub(crate) status: u8,
    pub(crate) mode: String,
    pub(crate) blob: String,
    pub(crate) path: Vec<u8>,
}

impl Repository {
    /// Opens the repository at `path` at its current commit. Later commits are left to the next run.
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Self> {
        let mut repository = Self {
            path,
            head: String::new(),
        };
        repository.ask(&["rev-parse", "--git-dir"])?;
        repository.head = repository
            .ask(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
            .map_err(|_| "the repository has no commits yet")?;
        Ok(repository)
    }

    /// The first commit along the first parents. It identifies the repository.
    pub(crate) fn root(&self) -> Result<String> {
        self.ask(&["rev-list", "--first-parent", "--max-parents=0", &self.head])
    }

    /// The id of a commit, from any name that git accepts.
    pub(crate) fn resolve(&self, name: &str) -> Result<String> {
        self.ask(&["rev-parse", "--verify", "--quiet", &format!("{name}^{{commit}}")])
            .map_err(|_| format!("{name} is neither a date nor a commit").into())
    }

    /// How many commits [`history`](Self::history) has.
    pub(crate) fn count(&self, after: Option<&str>) -> Result<u64> {
        let count = self.ask(&["rev-list", "--count", "--first-parent", &self.range(after)])?;
        Ok(count.parse()?)
    }

    /// The ids of the commits along the first parents, from the current one to the first.
    pub(crate) fn line(&self) -> Result<impl Iterator<Item = Result<String>>> {
        let mut output = Output::of(self.git().args(["rev-list", "--first-parent", &self.head]))?;
        Ok(std::iter::from_fn(move || {
            let id = output.next(b'\n').transpose()?;
            Some(id.map(|id| String::from_utf8_lossy(&id).into_owned()))
        }))
    }

    /// Whether the [`line`](Self::line) contains a commit.
    pub(crate) fn leads_through(&self, commit: &str) -> Result<bool> {
        for id in self.line()? {
            if id? == commit {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The commits of the [`line`](Self::line) after one of them, or all, oldest first.
    pub(crate) fn history(&self, after: Option<&str>) -> Result<History> {
        // Sets every option that a user's configuration could change.
        let output = Output::of(
            self.git()
                .args(["-c", "log.showRoot=true", "log", "-z", "--reverse"])
                .args(["--first-parent", "--diff-merges=first-parent"])
                .args(["--raw", "--no-abbrev", "--no-renames", "--no-relative", "-O/dev/null"])
                .args(["--ignore-submodules=none", "--no-show-signature"])
                .args(["--no-color", "--encoding=UTF-8"])
                // Names and messages cannot contain NUL, so the fields are clear.
                .args(["--format=%H%x00%ct%x00%an%x00%ae%x00%s", &self.range(after), "--"]),
        )?;
        Ok(History { output, ahead: None })
    }

    fn range(&self, after: Option<&str>) -> String {
        after.map_or_else(|| self.head.clone(), |after| format!("{after}..{}", self.head))
    }

    fn git(&self) -> Command {
        let mut git = Command::new("git");
        git.arg("--no-pager").env("LC_ALL", "C").stdin(Stdio::null());
        if let Some(path) = &self.path {
            // Git sets this variable for its hooks. It would override the path.
            git.env_remove("GIT_DIR")
                .env_remove("GIT_WORK_TREE")
                .env_remove("GIT_INDEX_FILE");
            git.arg("-C").arg(path);
        }
        git
    }

    /// A short answer.
    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let output = self.git().args(arguments).output().map_err(cannot_run)?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            let first = told.lines().next().unwrap_or("git failed");
            return Err(first.trim_start_matches("fatal: ").to_owned().into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }
}

fn cannot_run(error: std::io::Error) -> String {
    format!("git cannot be run: {error}")
}

/// Commits, and the changes of each.
#[derive(Debug)]
pub(crate) struct History {
    output: Output,
    ahead: Option<Vec<u8>>,
}

impl History {
    /// Reads the next commit. All changes of the one before must have been read.
    pub(crate) fn next_commit(&mut self) -> Result<Option<Commit>> {
        let Some(id) = self.take()? else { return Ok(None) };
        let id = String::from_utf8(id).map_err(|_| UNEXPECTED)?;
        if id.len() < 40 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(UNEXPECTED.into());
        }
        let mut field = || -> Result<Vec<u8>> { Ok(self.take()?.ok_or(UNEXPECTED)?) };
        let time = field()?;
        Ok(Some(Commit {
            id,
            committed: parse_seconds(&time),
            author_name: field()?,
            author_mail: field()?,
            subject: field()?,
        }))
    }

    /// Reads the next change of the commit; none after the last.
    pub(crate) fn next_change(&mut self) -> Result<Option<Change>> {
        let Some(token) = self.take()? else { return Ok(None) };
        // A line break separates the first change from the message.
        let Some(raw) = token.strip_prefix(b"\n").unwrap_or(&token).strip_prefix(b":") else {
            self.ahead = Some(token);
            return Ok(None);
        };
        let raw = str::from_utf8(raw)?;
        let path = self.take()?.ok_or(UNEXPECTED)?;
        let [_, mode, _, blob, status] = raw.split(' ').collect::<Vec<_>>()[..] else {
            return Err(UNEXPECTED.into());
        };
        Ok(Some(Change {
            status: *status.as_bytes().first().ok_or(UNEXPECTED)?,
            mode: mode.to_owned(),
            blob: blob.to_owned(),
            path,
        }))
    }

    fn take(&mut self) -> Result<Option<Vec<u8>>> {
        match self.ahead.take() {
            Some(token) => Ok(Some(token)),
            None => self.output.next(b'\0'),
        }
    }
}

const UNEXPECTED: &str = "git log wrote something unexpected";

/// The time of a commit. A damaged commit has none, and a commit may contain any number.
fn parse_seconds(text: &[u8]) -> i64 {
    let number = str::from_utf8(text).ok().and_then(|text| text.parse::<i128>().ok());
    number.map_or(0, |number| number.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}

/// The output of a running git process. Dropping it ends the process.
#[derive(Debug)]
struct Output {
    git: Child,
    stdout: BufReader<ChildStdout>,
}

impl Output {
    fn of(command: &mut Command) -> Result<Self> {
        let mut git = command.stdout(Stdio::piped()).spawn().map_err(cannot_run)?;
        let stdout = git.stdout.take().expect("the output is a pipe");
        Ok(Self {
            git,
            stdout: BufReader::new(stdout),
        })
    }

    /// Reads the next piece that ends with `delimiter`; none at the end, if git reports success.
    fn next(&mut self, delimiter: u8) -> Result<Option<Vec<u8>>> {
        let mut piece = Vec::new();
        if self.stdout.read_until(delimiter, &mut piece)? == 0 {
            let status = self.git.wait()?;
            return if status.success() {
                Ok(None)
            } else {
                Err(format!("git failed: {status}").into())
            };
        }
        if piece.last() == Some(&delimiter) {
            piece.pop();
        }
        Ok(Some(piece))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // It may already have ended.
        let _ = self.git.kill();
        let _ = self.git.wait();
    }
}
