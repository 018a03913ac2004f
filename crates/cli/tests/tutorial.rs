//! Runs the README's tutorial command by command: the outputs must be the same, except numbers, times and ids.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const README: &str = include_str!("../../../README.md");

#[test]
fn what_the_tutorial_shows_is_what_comes_out() {
    let directory = tempfile::tempdir().unwrap();
    let tool = Path::new(env!("CARGO_BIN_EXE_firefly-eventstore"));
    let history = Command::new(git_history(tool))
        .arg(env!("CARGO_MANIFEST_DIR"))
        .arg("--store")
        .arg(directory.path().join("history.db"))
        .output()
        .unwrap();
    assert!(history.status.success(), "{}", String::from_utf8_lossy(&history.stderr));

    let steps = steps();
    assert!(steps.len() > 20, "the tutorial is found: {steps:?}");
    let shown: Vec<Step> = run(&steps, directory.path(), tool.parent().unwrap());
    for (told, shown) in steps.iter().zip(&shown) {
        assert_eq!(
            told.comparable(),
            shown.comparable(),
            "$ {}\n{}",
            told.command,
            shown.output
        );
    }
}

/// A command, and its output.
#[derive(Debug)]
struct Step {
    command: String,
    output: String,
}

impl Step {
    /// The output line by line, with marks for words that contain a digit, and without what depends on column widths.
    fn comparable(&self) -> Vec<String> {
        let mask = |word: &str| match word {
            // The last event's type depends on the repository's last commit.
            "file.added" | "file.modified" | "file.deleted" => "file.*".to_owned(),
            // Absolute paths depend on the machine.
            word if word.starts_with('/') => "/".to_owned(),
            word if word.contains(|character: char| character.is_ascii_digit()) => "#".to_owned(),
            word => word.to_owned(),
        };
        let line = |line: &str| {
            // The cut part at the end of a line is not compared.
            let end = line.find(" {\"path").unwrap_or(line.len());
            line[..end].split_whitespace().map(mask).collect::<Vec<_>>().join(" ")
        };
        self.output.lines().map(line).collect()
    }
}

/// The commands in the README's console blocks.
fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_console = false;
    for line in README.lines() {
        if let Some(language) = line.strip_prefix("```") {
            is_console = language == "console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| is_console) {
            steps.push(Step {
                command: command.to_owned(),
                output: String::new(),
            });
        } else if is_console {
            let output = &mut steps.last_mut().expect("a block begins with a command").output;
            output.push_str(line);
            output.push('\n');
        }
    }
    steps
}

/// Runs all of them in one shell, as a reader of the tutorial does.
fn run(steps: &[Step], directory: &Path, tools: &Path) -> Vec<Step> {
    const MARK: &str = "=== the next command ===\n";
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([tools.to_owned()].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut shell = Command::new("bash")
        .args(["--norc", "-s"])
        .current_dir(directory)
        .env("PATH", path)
        .env("COLUMNS", "100")
        .env("FIREFLY_EVENTSTORE_URL", "sqlite:history.db")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let script: String = steps
        .iter()
        .map(|step| {
            format!(
                "{{ {}\n}} 2>&1 </dev/null\nprintf '{}'\n",
                step.command,
                MARK.replace('\n', "\\n")
            )
        })
        .collect();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = String::from_utf8(output.stdout).unwrap();
    let outputs: Vec<&str> = output.split(MARK).collect();
    assert_eq!(outputs.len(), steps.len() + 1, "{output}");
    let with_output = |(step, output): (&Step, &&str)| Step {
        command: step.command.clone(),
        output: (*output).to_owned(),
    };
    steps.iter().zip(&outputs).map(with_output).collect()
}

/// The program of the example. A run of all tests has built it; if only these tests run, it is built here.
fn git_history(tool: &Path) -> PathBuf {
    let example = tool.with_file_name("examples").join("git_history");
    if !example.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        for (name, _) in std::env::vars_os() {
            // The variables that cargo sets for a test of this package. If they differ, some build scripts run again.
            if [&b"CARGO_PKG_"[..], b"CARGO_MANIFEST_"]
                .iter()
                .any(|start| name.as_encoded_bytes().starts_with(start))
            {
                cargo.env_remove(name);
            }
        }
        let built = cargo
            .args([
                "build",
                "--quiet",
                "--package",
                "firefly-eventstore",
                "--example",
                "git_history",
            ])
            .arg("--target-dir")
            .arg(tool.parent().unwrap().parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(built.success());
    }
    example
}
