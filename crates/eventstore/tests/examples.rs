//! Tests that the examples do what they say, on a real repository and a real file.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use firefly_eventstore::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn the_ledger_adds_up_and_leaves_nothing_behind() {
    let output = run(&mut example("ledger"));
    let path = line_with(&output, "The ledger is in ").trim_start_matches("The ledger is in ");
    assert!(!Path::new(path).exists(), "{path}");
    for expected in [
        "  rejected: ACC002 holds 50.00, asked for was 50.01",
        "decided 2 time(s)",
        "  version 5, 1 event after it: 700.00",
        "  version 3: 1150.00, today 700.00",
        "  refused: CHECK constraint failed",
        "  9 events of 2 accounts",
        "  money.withdrawn        3   33.33 %",
        "Everything adds up.",
    ] {
        line_with(&output, expected);
    }
}

#[test]
fn the_ledger_grows_in_a_file_that_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bank ö.db");
    for expected in ["  9 events of 2 accounts", "  18 events of 4 accounts"] {
        line_with(&run(example("ledger").arg(&file)), expected);
    }
    let store = SqliteEventStore::open(&file).unwrap();
    assert_eq!(store.statistics(None).unwrap().total_events, 18);
}

#[test]
fn the_order_service_is_exact_although_a_process_is_killed_and_commands_come_twice() {
    let output = run(&mut example("order_service"));
    for expected in [
        "1125 commands for 300 orders, some of them twice",
        "a process that sends mails was killed",
        "the read model begins anew",
        "225 commands had been executed before, and did nothing",
        "every sum is exact: 7 customers, 300 orders",
        "300 mails, ",
        "sales.v1: at 900, 0 behind, 0 parked",
        "shipped-mail.v1: at 900, 0 behind, 0 parked",
    ] {
        line_with(&output, expected);
    }
}

#[test]
fn the_tree_as_of_every_commit_is_gits() {
    let repository = Repository::with_a_past();
    let commits = repository.git(&["rev-list", "--first-parent", "main"]);
    assert_eq!(commits.lines().count(), 12);
    for commit in commits.lines() {
        let output = run(repository.git_history().args(["--files", "--as-of", commit]));
        assert_eq!(tree_in(&output), repository.tree(commit), "{output}");
        line_with(&output, "checksums verified, 0 damaged");
    }
    let output = run(repository.git_history().args(["--files", "--as-of", "main~3"]));
    assert_eq!(tree_in(&output), repository.tree("main~3"));
    assert_eq!(
        tree_in(&run(repository.git_history().arg("--files"))),
        repository.tree("main")
    );
}

#[test]
fn the_tree_as_of_a_time_is_that_of_the_newest_commit_until_then() {
    let repository = Repository::with_a_past();
    for (time, commit) in [
        ("2001-09-09", "main~9"),
        ("2001-09-09T02:46:39Z", "main~10"),
        ("2001-09-09T04:46:40+02:00", "main~9"),
        ("2001-09-08T20:46:39-06:00", "main~10"),
        ("2004-01-10", "main~4"),
        ("1970-01-01", "main~10"),
        ("9999-12-31", "main"),
    ] {
        let output = run(repository.git_history().args(["--files", "--as-of", time]));
        assert_eq!(tree_in(&output), repository.tree(commit), "{time}: {output}");
    }
    let output = run(repository.git_history().args(["--as-of", "1969-12-31"]));
    line_with(&output, "There was no file yet.");
}

#[test]
fn paths_and_people_of_any_kind_are_kept_apart() {
    let repository = Repository::with_a_past();
    let output = run(repository.git_history().arg("--files"));
    let shown: Vec<_> = tree_in(&output).into_keys().collect();
    for (_, expected) in ODD_PATHS {
        assert!(shown.iter().any(|path| path == expected), "{expected} in {shown:?}");
    }
    let history = repository.history();
    let creators: BTreeSet<String> = history
        .iter()
        .filter_map(|event| event.created_by.clone())
        .map(String::from)
        .collect();
    assert!(creators.contains("<nobody@example.org>"), "{creators:?}");
    let long: Vec<_> = creators.iter().filter(|name| name.contains("ääääää")).collect();
    assert_eq!(long.len(), 2, "two names that begin alike: {long:?}");
    let whole = history
        .iter()
        .filter_map(|event| event.data::<Value>().unwrap()["author"].as_str().map(str::to_owned));
    assert_eq!(whole.collect::<BTreeSet<_>>(), [1, 2].map(long_name).into());
    let years: BTreeSet<_> = history.iter().map(|event| event.created_at.year()).collect();
    assert!(years.contains(&1970) && years.contains(&9999), "{years:?}");
}

#[test]
fn running_again_stores_what_is_new_and_nothing_twice() {
    let repository = Repository::with_a_past();
    assert_eq!(stored_by(&run(&mut repository.git_history())), (CHANGES, 0));
    let before = repository.history();
    assert_eq!(before.len() as u64, CHANGES);
    assert_eq!(stored_by(&run(&mut repository.git_history())), (0, 0));
    assert_eq!(repository.history(), before);

    repository.import(
        b"\
        commit refs/heads/main\nauthor Ada <ada@example.org> 1300000000 +0000\n\
        committer Ada <ada@example.org> 1300000000 +0000\ndata 4\nmore\nfrom refs/heads/main^0\n\
        D script\nM 100644 inline new\ndata 3\nnew\n\n\
        commit refs/heads/main\ncommitter Ada <ada@example.org> 1300000001 +0000\ndata 5\nempty\n\n\
        done\n",
    );
    let output = run(repository.git_history().arg("--files"));
    assert_eq!(stored_by(&output), (2, 0));
    assert_eq!(tree_in(&output), repository.tree("main"));
    assert_eq!(stored_by(&run(&mut repository.git_history())), (0, 0));
    assert_eq!(repository.history()[..before.len()], before);
}

#[test]
fn a_users_configuration_changes_nothing() {
    let (plain, configured) = (Repository::with_a_past(), Repository::with_a_past());
    let order = configured.directory.path().join("order");
    std::fs::write(&order, "script\nb\n").unwrap();
    for (key, value) in [
        ("color.ui", "always"),
        ("diff.ignoreSubmodules", "all"),
        ("diff.orderFile", order.to_str().unwrap()),
        ("diff.relative", "true"),
        ("diff.renames", "copies"),
        ("format.pretty", "oneline"),
        ("i18n.logOutputEncoding", "latin1"),
        ("log.date", "relative"),
        ("log.diffMerges", "combined"),
        ("log.showRoot", "false"),
        ("log.showSignature", "true"),
    ] {
        configured.git(&["config", key, value]);
    }
    for repository in [&plain, &configured] {
        assert_eq!(stored_by(&run(&mut repository.git_history())), (CHANGES, 0));
    }
    assert_eq!(configured.history(), plain.history());
}

#[test]
fn branches_share_a_store_and_keep_their_own_tree() {
    let repository = Repository::with_a_past();
    for (branch, stored, known) in [("side", 8, 0), ("main", CHANGES - 6, 6), ("side", 0, 8), ("main", 0, 0)] {
        repository.git(&["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")]);
        let output = run(repository.git_history().arg("--files"));
        assert_eq!(stored_by(&output), (stored, known), "{branch}");
        assert_eq!(tree_in(&output), repository.tree(branch), "{branch}");
    }
    let output = run(repository.git_history().args(["--files", "--as-of", "side"]));
    assert_eq!(tree_in(&output), repository.tree("side"));
}

#[test]
fn repositories_share_a_store_and_nothing_else() {
    let (one, other) = (Repository::with_a_past(), Repository::large(3));
    let store = one.directory.path().join("shared.db");
    let history = |repository: &Repository| run(repository.git_history().arg("--files").arg("--store").arg(&store));
    assert_eq!(stored_by(&history(&one)), (CHANGES, 0));
    assert_eq!(stored_by(&history(&other)), (12, 0));
    let again = history(&one);
    assert_eq!((stored_by(&again), tree_in(&again)), ((0, 0), one.tree("main")));
    let again = history(&other);
    assert_eq!((stored_by(&again), tree_in(&again)), ((0, 0), other.tree("main")));
}

#[test]
fn killed_in_the_middle_it_continues_to_the_same_store() {
    let commits = 3_000;
    let repository = Repository::large(commits);
    let mut child = repository
        .git_history()
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first line of progress is written when something was stored, long before the end.
    let progress = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .next()
        .unwrap()
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(progress.starts_with("store: "), "{progress}");
    let stored = repository.history().len() as u64;
    assert!(
        (1..commits * 4).contains(&stored),
        "{stored} changes were stored before it was killed"
    );

    let output = run(repository.git_history().arg("--files"));
    assert_eq!(stored_by(&output), (commits * 4 - stored, 0));
    assert_eq!(tree_in(&output), repository.tree("main"));

    let interrupted = repository.history();
    std::fs::remove_file(repository.store()).unwrap();
    assert_eq!(stored_by(&run(&mut repository.git_history())), (commits * 4, 0));
    assert_eq!(repository.history(), interrupted);
}

#[test]
fn two_at_once_store_nothing_twice() {
    let repository = Repository::large(100);
    let start = || repository.git_history().stdout(Stdio::piped()).spawn().unwrap();
    let stored: u64 = [start(), start()]
        .map(|child| child.wait_with_output().unwrap())
        .iter()
        .map(|output| stored_by(&String::from_utf8_lossy(&output.stdout)).0)
        .sum();
    assert_eq!((stored, repository.history().len()), (400, 400));
    assert_eq!(
        tree_in(&run(repository.git_history().arg("--files"))),
        repository.tree("main")
    );
}

#[test]
fn what_it_cannot_do_it_says_in_one_line() {
    let repository = Repository::with_a_past();
    let empty = Repository::empty();
    let nowhere = tempfile::tempdir().unwrap();
    let fails = |command: &mut Command, code, expected: &str| {
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{told}");
        let first = told.lines().next().unwrap_or_default();
        assert!(first.starts_with("error: ") && first.contains(expected), "{told}");
        assert!(code != 1 || told.lines().count() == 1, "{told}");
    };
    let in_folder = |folder: &Path| {
        let mut command = example("git_history");
        command
            .current_dir(folder)
            .env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap());
        command
    };
    fails(&mut in_folder(nowhere.path()), 1, "not a git repository");
    fails(&mut in_folder(&empty.bare()), 1, "no commits yet");
    fails(example("git_history").arg(nowhere.path().join("absent")), 1, "absent");
    fails(
        repository.git_history().args(["--as-of", "2001-02-30"]),
        1,
        "neither a date nor a commit",
    );
    fails(
        repository.git_history().args(["--as-of", "side"]),
        1,
        "not on the line of first parents",
    );
    fails(repository.git_history().arg("--store").arg(nowhere.path()), 1, "");
    fails(repository.git_history().arg("another/path"), 2, "more than one PATH");
    fails(repository.git_history().arg("--as-of"), 2, "--as-of needs a value");
    fails(
        repository.git_history().arg("--nonsense"),
        2,
        "unknown option --nonsense",
    );
}

/// Paths as fast-import takes them, and as the example prints them.
const ODD_PATHS: [(&str, &str); 7] = [
    (r#""with space""#, "with space"),
    (r#""quote\"s'""#, "quote\"s'"),
    (r#""line\nbreak/and\ttab""#, r"line\nbreak/and\ttab"),
    (r#""back\\slash""#, r"back\\slash"),
    (r#""back\\\\slash""#, r"back\\\\slash"),
    (r#""latin-\351""#, r"latin-\xe9"),
    (r#""utf-\303\251""#, "utf-é"),
];

/// How many changes there are along the first parents of [`Repository::with_a_past`].
const CHANGES: u64 = 27;

fn long_name(n: u32) -> String {
    format!("{}{n} <long@example.org>", "ä".repeat(300))
}

struct Repository {
    directory: TempDir,
}

impl Repository {
    fn empty() -> Self {
        let repository = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(repository.bare()).unwrap();
        repository.git(&["init", "--quiet", "--bare"]);
        repository.git(&["symbolic-ref", "HEAD", "refs/heads/main"]);
        repository
    }

    /// A repository with a root commit without a file, odd paths, renames, deletions, modes, links, a submodule, files that become folders,
    /// merges with and without conflict, odd people and odd times.
    fn with_a_past() -> Self {
        let mut stream = Vec::new();
        let mut commit = |branch: &str, parents: &str, author: &str, time: u64, changes: &str| {
            write!(
                stream,
                "commit refs/heads/{branch}\nauthor {author} {time} +0100\ncommitter {author} {time} -0700\n"
            )
            .unwrap();
            write!(stream, "data 10\na subject\n{parents}{changes}\n").unwrap();
        };
        let file = |path: &str, text: &str| format!("M 100644 inline {path}\ndata {}\n{text}\n", text.len());
        let ada = "Ada \\ Lovelace <ada@example.org>";

        let odd: String = ODD_PATHS.iter().map(|(path, _)| file(path, path)).collect();
        commit("main", "", ada, 999_999_000, "");
        let changes = [file("a", "1"), file("b", "1"), file("script", "#!")];
        commit("main", "", ada, 0, &changes.concat());
        let changes = [file("c", "3"), file("dir/x", "x"), file("d", "a file")];
        commit("main", "", "<nobody@example.org>", 1_000_003_600, &changes.concat());
        let changes = [file("a", "side"), file("on side", "s")];
        commit("side", "from refs/heads/main\n", ada, 1_000_100_000, &changes.concat());
        let changes = "D b\nR c moved/c\nM 100755 inline script\ndata 2\n#!\n";
        commit("main", "", ada, 1_000_200_000, changes);
        let changes = [file("a", "main"), "M 120000 inline b\ndata 1\na\n".to_owned()];
        commit("main", "", ada, 1_000_300_000, &changes.concat());
        let changes = [file("a", "both"), file("on side", "s")];
        commit("main", "merge refs/heads/side\n", ada, 1_000_400_000, &changes.concat());
        commit("main", "", ada, 1_000_500_000, &odd);
        let changes = ["D d\n".to_owned(), file("d/was a file", "now a folder")];
        commit("main", "", ada, 1_073_700_000, &changes.concat());
        let changes = "M 160000 0123456789012345678901234567890123456789 module\nM 120000 inline moved/c\ndata 1\nx\n";
        commit("main", "", ada, 1_100_000_000, changes);
        commit("main", "", &long_name(1), 1_200_000_000, &file("long", "1"));
        commit("main", "", &long_name(2), 999_999_999_999, &file("long", "2"));
        commit("main", "", ada, 1_300_000_000, "");
        let repository = Self::empty();
        stream.extend_from_slice(b"done\n");
        repository.import(&stream);
        repository
    }

    /// A repository with this many commits of four changes each.
    fn large(commits: u64) -> Self {
        let mut stream = Vec::new();
        for n in 0..commits {
            write!(
                stream,
                "commit refs/heads/main\ncommitter Ada <ada@example.org> {} +0000\n",
                1_000_000_000 + n
            )
            .unwrap();
            write!(stream, "data 6\nlarge\n\n").unwrap();
            for path in 0..4 {
                let text = format!("{n} {path}");
                let path = (n * 7 + path) % 500;
                write!(
                    stream,
                    "M 100644 inline dir{}/{path}\ndata {}\n{text}\n",
                    path % 10,
                    text.len()
                )
                .unwrap();
            }
        }
        stream.extend_from_slice(b"done\n");
        let repository = Self::empty();
        repository.import(&stream);
        repository
    }

    fn bare(&self) -> PathBuf {
        self.directory.path().join("repository.git")
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store.db")
    }

    fn import(&self, stream: &[u8]) {
        let mut git = command("git");
        git.current_dir(self.bare())
            .args(["fast-import", "--quiet", "--done", "--date-format=raw-permissive"]);
        let mut child = git.stdin(Stdio::piped()).spawn().expect("git is installed");
        child.stdin.take().unwrap().write_all(stream).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn git(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.git_bytes(arguments))
            .unwrap()
            .trim_end()
            .to_owned()
    }

    fn git_bytes(&self, arguments: &[&str]) -> Vec<u8> {
        let output = command("git")
            .current_dir(self.bare())
            .args(arguments)
            .output()
            .expect("git is installed");
        succeeded(&output);
        output.stdout
    }

    /// The example on this repository, with a store of its own.
    fn git_history(&self) -> Command {
        let mut command = example("git_history");
        command.current_dir(self.directory.path()).arg(self.bare());
        command.arg("--store").arg(self.store());
        command
    }

    fn history(&self) -> Vec<EventEnvelope> {
        let store = SqliteEventStore::open(self.store()).unwrap();
        store.read(EventQuery::new()).map(|event| event.unwrap()).collect()
    }

    /// The tree by git: paths as the example prints them, modes and blobs.
    fn tree(&self, commit: &str) -> BTreeMap<String, String> {
        let listing = self.git_bytes(&["ls-tree", "-r", "-z", commit]);
        let entries = listing.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
        entries
            .map(|entry| {
                let tab = entry.iter().position(|byte| *byte == b'\t').unwrap();
                let fields: Vec<_> = str::from_utf8(&entry[..tab]).unwrap().split(' ').collect();
                (shown(&entry[tab + 1..]), format!("{} {}", fields[0], fields[2]))
            })
            .collect()
    }
}

fn shown(path: &[u8]) -> String {
    match str::from_utf8(path) {
        Ok(text) => text.replace('\\', r"\\").replace('\n', r"\n").replace('\t', r"\t"),
        Err(_) => r"latin-\xe9".to_owned(),
    }
}

fn tree_in(output: &str) -> BTreeMap<String, String> {
    let lines = output.lines().filter_map(|line| line.split_once('\t'));
    lines.map(|(file, path)| (path.to_owned(), file.to_owned())).collect()
}

/// How many changes a run stored, and how many were already stored.
fn stored_by(output: &str) -> (u64, u64) {
    let line = line_with(output, " new changes, ");
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1])
}

#[track_caller]
fn line_with<'a>(output: &'a str, part: &str) -> &'a str {
    let line = output.lines().find(|line| line.contains(part));
    line.unwrap_or_else(|| panic!("no {part:?} in\n{output}"))
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    succeeded(&output);
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn succeeded(output: &Output) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {told}", output.status);
}

/// A command that ignores the user's configuration and a hook's environment.
fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("GIT_CONFIG_GLOBAL", if cfg!(windows) { "NUL" } else { "/dev/null" });
    command.env("GIT_CONFIG_NOSYSTEM", "1");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        command.env_remove(variable);
    }
    command
}

/// The program of an example. `cargo test --test examples` alone does not build the examples, so this builds them. A run of all tests with
/// all features has built them already. The same features are requested here, so they are not built a second time.
fn example(name: &str) -> Command {
    static PROGRAMS: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        for (name, _) in env::vars_os() {
            // The variables that cargo sets for a test of this package. If they differ, some build scripts run again, and everything that
            // depends on them is built again.
            if [&b"CARGO_PKG_"[..], b"CARGO_MANIFEST_"]
                .iter()
                .any(|start| name.as_encoded_bytes().starts_with(start))
            {
                cargo.env_remove(name);
            }
        }
        cargo.args([
            "build",
            "--quiet",
            "--examples",
            "--message-format=json",
            "--manifest-path",
        ]);
        cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        if cfg!(feature = "tracing") {
            cargo.args(["--workspace", "--all-features"]);
        }
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let output = cargo.output().unwrap();
        succeeded(&output);
        let messages = str::from_utf8(&output.stdout).unwrap().lines();
        let messages = messages.map(|line| serde_json::from_str::<Value>(line).unwrap());
        messages
            .filter(|message| message["target"]["kind"][0] == "example")
            .filter_map(|message| {
                let program = message["executable"].as_str()?;
                Some((message["target"]["name"].as_str()?.to_owned(), program.into()))
            })
            .collect()
    });
    command(&programs[name])
}
