//! A password in a URL is never shown, whatever its form and whatever fails.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use support::{run_with, tool};

/// Passwords as they are written in a URL, and decoded.
const PASSWORDS: &[(&str, &str)] = &[
    ("tiger-9", "tiger-9"),
    ("ti%67er%40%2F9", "tiger@/9"),
    ("ti ger?x=9", "ti ger?x=9"),
    ("a@b:c9", "a@b:c9"),
];

fn urls(password: &str) -> Vec<String> {
    let mut urls = vec![
        format!("oracle://clerk:{password}@127.0.0.1/ledger"),
        format!("sqlite://clerk:{password}@127.0.0.1/ledger"),
        // Nothing listens on this port.
        format!("postgres://clerk:{password}@127.0.0.1:1/ledger"),
        format!("postgresql://127.0.0.1:1/ledger?user=clerk&password={password}"),
        format!("postgres://clerk:{password}@127.0.0.1:port/ledger?no=such"),
        format!("mysql://clerk:{password}@127.0.0.1:1/ledger"),
        format!("mysql://clerk:{password}@127.0.0.1:port/ledger?no=such"),
        format!("mysql://clerk:{password}@127.0.0.1:1/ledger?pool_min=x"),
    ];
    urls.push(format!("host=127.0.0.1 user=clerk password=://x:{password}@y"));
    urls
}

fn assert_hidden(context: &str, shown: &str, written: &str, meant: &str) {
    for password in [written, meant] {
        assert!(!shown.contains(password), "{context}: {shown}");
    }
}

#[test]
fn no_command_that_fails_shows_it() {
    let id = "0197c6b1-7e55-7c0e-9d6c-0d7c1f1a2b3c";
    let commands: &[&[&str]] = &[
        &["migrate"],
        &["migrate", "--dry-run"],
        &["doctor"],
        &["doctor", "--json"],
        &["stats"],
        &["show", "Account", id],
        &["tail", "--follow"],
        &["append", "--type", "Account", "--id", id],
        &["report"],
        &["import", "/dev/null"],
        &["restore", "--table", "--until-sequence", "1"],
    ];
    let directory = tempfile::tempdir().unwrap();
    for (written, meant) in PASSWORDS {
        for url in urls(written) {
            for command in commands {
                for by_variable in [false, true] {
                    let mut tool = tool();
                    tool.current_dir(directory.path()).args(*command);
                    match by_variable {
                        true => tool.env("FIREFLY_EVENTSTORE_URL", &url),
                        false => tool.args(["--store", &url]),
                    };
                    let answer = run_with(&mut tool, b"");
                    let shown = format!("{}{}", answer.out, answer.err);
                    // SQLite would create a file of this name, if there were such a folder.
                    let is_plan = url.starts_with("sqlite") && command.contains(&"--dry-run");
                    assert_eq!(answer.code == 0, is_plan, "{url} {command:?}: {shown}");
                    assert_hidden(&format!("{url} {command:?}"), &shown, written, meant);
                }
            }
        }
    }
}

#[test]
fn no_misplaced_url_shows_it() {
    for (written, meant) in PASSWORDS {
        for url in urls(written) {
            let id = "0197c6b1-7e55-7c0e-9d6c-0d7c1f1a2b3c";
            let inside = format!("--stor={url}");
            let commands: &[&[&str]] = &[
                &[&url],
                &[&url, "stats"],
                &["stats", &url],
                &["--stroe", &url, "stats"],
                &[&inside, "stats"],
                &["show", "Account", &url],
                &["tail", "--since", &url],
                &["tail", "--metadata", &url],
                &["import", "--check", &url],
                &["completions", &url],
                &["--store", "oracle://x", "show", &url, id],
            ];
            for command in commands {
                let answer = run_with(tool().args(*command), b"");
                let shown = format!("{}{}", answer.out, answer.err);
                assert_ne!(answer.code, 0, "{command:?}: {shown}");
                assert_hidden(&format!("{command:?}"), &shown, written, meant);
            }
        }
    }
}

#[test]
fn no_help_shows_it() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["help", "stats"],
        &["stats", "--help"],
        &["man"],
        &["completions", "bash"],
    ] {
        let url = "postgres://clerk:tiger-9@127.0.0.1:1/ledger";
        let answer = run_with(tool().args(arguments).env("FIREFLY_EVENTSTORE_URL", url), b"");
        assert_eq!(answer.code, 0, "{answer:?}");
        assert!(
            !answer.out.contains("tiger") && !answer.out.contains("127.0.0.1"),
            "{answer:?}"
        );
    }
}

#[cfg(all(feature = "postgres", feature = "mysql"))]
#[test]
fn a_server_that_is_not_there_is_told_as_such() {
    for scheme in ["postgres", "mysql"] {
        let url = format!("{scheme}://clerk:tiger-9@127.0.0.1:1/ledger");
        let answer = run_with(tool().args(["--store", &url, "stats"]), b"");
        assert_eq!((answer.code, answer.err.lines().count()), (4, 1), "{answer:?}");
        assert!(
            answer.err.contains("nothing is lost, repeat the same call later"),
            "{answer:?}"
        );
        let found = run_with(tool().args(["--store", &url, "doctor", "--json"]), b"");
        assert_eq!(found.code, 4, "{found:?}");
        let json = found.json();
        assert_eq!(json["store"], format!("{scheme}://clerk:***@127.0.0.1:1/ledger"));
        assert_eq!(
            (&json["worst"], &json["diagnoses"][0]["subject"]),
            (&"danger".into(), &"connection".into())
        );
        assert!(
            json["diagnoses"][0]["advice"]
                .as_str()
                .unwrap()
                .contains("that the server runs"),
            "{json}"
        );
    }
}
