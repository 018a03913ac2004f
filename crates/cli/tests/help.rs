//! The help, the manual and the completions.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::process::Command;

use support::{Answer, run_with, tool};

const COMMANDS: &[&str] = &[
    "migrate",
    "doctor",
    "stats",
    "types",
    "aggregates",
    "show",
    "tail",
    "append",
    "export",
    "import",
    "restore",
    "archive",
    "archives",
    "attach",
    "partition",
    "seal",
    "verify",
    "diff",
    "maintain",
    "publish-mark",
    "snapshots",
    "consumers",
    "parked",
    "metrics",
    "report",
    "completions",
    "man",
];

/// The commands of commands.
const PARTS: &[(&str, &[&str])] = &[
    ("consumers", &["list", "show", "pause", "resume", "reposition", "reset"]),
    ("parked", &["list", "show", "replay", "discard"]),
];

fn succeeds(arguments: &[&str]) -> Answer {
    let answer = run_with(tool().args(arguments), b"");
    assert_eq!((answer.code, &*answer.err), (0, ""), "{arguments:?}: {answer:?}");
    answer
}

#[test]
fn the_help_of_every_command_fits_and_has_examples() {
    let overview = succeeds(&["--help"]).out;
    for command in COMMANDS {
        assert!(overview.contains(&format!("\n  {command}  ")), "{command}: {overview}");
        let help = succeeds(&["help", command]).out;
        assert_eq!(succeeds(&[command, "--help"]).out, help);
        assert!(help.contains("\nExamples:\n  "), "{command}: {help}");
        assert!(help.contains(&format!("firefly-eventstore {command}")), "{help}");
        for line in help.lines().chain(overview.lines()) {
            assert!(line.chars().count() <= 80, "{command}: {line}");
            assert!(line.is_ascii(), "{command}: {line}");
        }
    }
    for (command, parts) in PARTS {
        let overview = succeeds(&["help", command]).out;
        for part in *parts {
            assert!(overview.contains(&format!("\n  {part}  ")), "{part}: {overview}");
            let help = succeeds(&["help", command, part]).out;
            assert_eq!(succeeds(&[command, part, "--help"]).out, help);
            assert!(
                help.contains(&format!("\nExamples:\n  firefly-eventstore {command} {part}")),
                "{help}"
            );
            for line in help.lines().chain(overview.lines()) {
                assert!(
                    line.chars().count() <= 80 && line.is_ascii(),
                    "{command} {part}: {line}"
                );
            }
        }
    }
    let listed = overview
        .split("Commands:")
        .nth(1)
        .unwrap()
        .split("Options:")
        .next()
        .unwrap();
    assert_eq!(
        listed.lines().filter(|line| !line.is_empty()).count(),
        COMMANDS.len() + 1,
        "{listed}"
    );
}

#[test]
fn the_readme_has_every_command_and_exit_code() {
    let readme = include_str!("../README.md");
    for command in COMMANDS {
        assert!(readme.contains(&format!("| `{command}")), "{command}");
    }
    let help = succeeds(&["--help"]).out;
    let codes = help.split("Exit codes:\n").nth(1).unwrap().lines();
    let mut count = 0;
    for line in codes.take_while(|line| !line.is_empty()) {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(readme.contains(&format!("| {code} | {meaning} |")), "{line}");
        count += 1;
    }
    assert_eq!(count, 12);
}

#[test]
fn the_manual_has_every_command() {
    let manual = succeeds(&["man"]).out;
    assert!(manual.starts_with(".ie"), "{manual}");
    assert!(manual.contains("Exit codes"), "{manual}");
    for command in COMMANDS {
        let command = command.replace('-', "\\-");
        assert!(
            manual.contains(&format!("\n.SH NAME\nfirefly\\-eventstore\\-{command} \\-")),
            "{command}: {manual}"
        );
        assert!(
            manual.contains(&format!("firefly\\-eventstore {command}")),
            "{command}: {manual}"
        );
    }
    let directory = tempfile::tempdir().unwrap();
    succeeds(&["man", "--directory", directory.path().to_str().unwrap()]);
    for command in COMMANDS {
        assert!(
            directory
                .path()
                .join(format!("firefly-eventstore-{command}.1"))
                .exists(),
            "{command}"
        );
    }
    for (command, parts) in PARTS {
        for part in *parts {
            assert!(
                manual.contains(&format!("\n.SH NAME\nfirefly\\-eventstore\\-{command}\\-{part} \\-")),
                "{part}"
            );
            let page = format!("firefly-eventstore-{command}-{part}.1");
            assert!(directory.path().join(&page).exists(), "{page}");
        }
    }
    assert!(directory.path().join("firefly-eventstore.1").exists());
    if let Ok(formatted) = Command::new("groff")
        .args(["-man", "-Tutf8", "-ww", "-z"])
        .arg(directory.path().join("firefly-eventstore.1"))
        .output()
    {
        assert_eq!(String::from_utf8_lossy(&formatted.stderr), "");
    }
}

#[test]
fn shells_understand_their_completions() {
    for (shell, check) in [
        ("bash", &["bash", "-n"][..]),
        ("zsh", &["zsh", "-n"]),
        ("fish", &["fish", "--no-execute"]),
        ("elvish", &[]),
        ("powershell", &[]),
    ] {
        let script = succeeds(&["completions", shell]).out;
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("script");
        std::fs::write(&file, script).unwrap();
        let Some((program, arguments)) = check.split_first() else {
            continue;
        };
        // A shell that is not there says nothing.
        if let Ok(output) = Command::new(program).args(arguments).arg(&file).output() {
            assert!(output.status.success(), "{shell}: {output:?}");
        }
    }
}

#[test]
fn colours_are_for_terminals_only() {
    let answer = run_with(tool().args(["--store", "ledger.db", "stats"]), b"");
    assert!(!answer.err.contains('\u{1b}'), "{answer:?}");
    let forced = run_with(
        tool()
            .args(["--store", "ledger.db", "stats"])
            .env("CLICOLOR_FORCE", "1"),
        b"",
    );
    assert!(forced.err.contains('\u{1b}'), "{forced:?}");
    let mut refused = tool();
    refused
        .args(["--store", "ledger.db", "stats"])
        .env("CLICOLOR_FORCE", "1")
        .env("NO_COLOR", "1");
    assert!(!run_with(&mut refused, b"").err.contains('\u{1b}'));
}

#[cfg(unix)]
#[test]
fn arguments_need_not_be_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let no_text = OsStr::from_bytes(b"\xff\xfe");
    for arguments in [&["stats"][..], &["import"], &["--store"]] {
        let answer = run_with(tool().args(arguments).arg(no_text), b"");
        assert_eq!(answer.code, 2, "{answer:?}");
    }
    let checked = run_with(tool().args(["import", "--check"]).arg(no_text), b"");
    assert_eq!(checked.code, 8, "{checked:?}");
    let answer = run_with(tool().arg("stats").env("FIREFLY_EVENTSTORE_URL", no_text), b"");
    assert_eq!(answer.code, 2, "{answer:?}");
}
