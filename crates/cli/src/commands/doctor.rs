//! `doctor`: whether everything is as it should be.

use clap::Args;
use firefly_eventstore::operate::{CONSUMERS, Diagnosis, Severity, diagnose};
use serde::Serialize;

use crate::console::{Console, DANGER, GOOD, NOTICE, WARNING};
use crate::exit::{Exit, Failure, Result};
use crate::json::{DiagnosisRow, severity_of};
use crate::store::Chosen;

/// Check the server, the schema, the settings and the consumers
///
/// For each, says whether it is right, and what to do if not. The exit code is that of the worst finding: 0 good or notice, 1 warning, 10
/// danger; 4 if the server does not answer, 5 if the schema is not the required one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore doctor
  firefly-eventstore doctor --json | jq '.diagnoses[] | select(.advice)'")]
pub(crate) struct Doctor {}

#[derive(Serialize)]
struct Answer<'a> {
    store: String,
    worst: &'static str,
    diagnoses: Vec<DiagnosisRow<'a>>,
}

impl Doctor {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let url = store.url()?;
        let found = url.open().and_then(|store| Ok(diagnose(&*store)?));
        let (mut diagnoses, exit) = match found {
            Ok(diagnoses) => {
                let exit = exit_of(worst(&diagnoses));
                (diagnoses, exit)
            }
            Err(failure) if failure.exit() == Exit::Usage => return Err(failure),
            Err(failure) => (vec![explained(&failure, console)], failure.exit()),
        };
        // The library names its function; the tool has a command.
        for diagnosis in &mut diagnoses {
            match &mut diagnosis.advice {
                Some(advice) if advice == "run migrate" => *advice = format!("run: {}", url.command(&["migrate"])),
                Some(advice) if diagnosis.subject == CONSUMERS => {
                    *advice = format!("{advice}. Look: {}", url.command(&["consumers"]));
                }
                _ => {}
            }
        }
        if console.is_json() {
            console.json(&Answer {
                store: url.to_string(),
                worst: severity_of(worst(&diagnoses)),
                diagnoses: diagnoses.iter().map(DiagnosisRow::from).collect(),
            })?;
            return Ok(exit);
        }
        console.line(url)?;
        for diagnosis in &diagnoses {
            tell(diagnosis, console)?;
        }
        Ok(exit)
    }
}

fn tell(diagnosis: &Diagnosis, console: &mut Console) -> Result<()> {
    let style = match diagnosis.severity {
        Severity::Good => GOOD,
        Severity::Notice => NOTICE,
        Severity::Warning => WARNING,
        Severity::Danger => DANGER,
    };
    let mark = format!("{:<8}", severity_of(diagnosis.severity));
    console.marked_line(style, &mark, format_args!("{}: {}", diagnosis.subject, diagnosis.found))?;
    match &diagnosis.advice {
        Some(advice) => console.line(format_args!("        -> {advice}")),
        None => Ok(()),
    }
}

fn worst(diagnoses: &[Diagnosis]) -> Severity {
    let severities = diagnoses.iter().map(|diagnosis| diagnosis.severity);
    severities.max().unwrap_or(Severity::Good)
}

fn exit_of(worst: Severity) -> Exit {
    match worst {
        Severity::Good | Severity::Notice => Exit::Fine,
        Severity::Warning => Exit::Findings,
        Severity::Danger => Exit::Danger,
    }
}

/// Why nothing could be checked.
fn explained(failure: &Failure, console: &Console) -> Diagnosis {
    let (subject, usual) = match failure.exit() {
        Exit::Unavailable => ("connection", "check that the server runs, and that the URL is right"),
        Exit::Schema => ("schema", "find out who changed it, or use the program that created it"),
        Exit::Refused => ("rights", "connect as another user, or grant what is missing"),
        Exit::Damaged => ("storage", "restore it from a backup"),
        _ => ("connection", "look at the URL, and at the server's log"),
    };
    let advice = failure.advice().unwrap_or_else(|| usual.to_owned());
    Diagnosis::bad(
        Severity::Danger,
        subject,
        console.hidden(failure.message()),
        console.hidden(&advice),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides() {
        let found = |severities: &[Severity]| {
            let diagnosis = |severity: &Severity| Diagnosis::bad(*severity, "it", "is", "so");
            exit_of(worst(&severities.iter().map(diagnosis).collect::<Vec<_>>()))
        };
        assert_eq!(found(&[]), Exit::Fine);
        assert_eq!(found(&[Severity::Good, Severity::Notice]), Exit::Fine);
        assert_eq!(found(&[Severity::Warning, Severity::Notice]), Exit::Findings);
        assert_eq!(found(&[Severity::Danger, Severity::Good]), Exit::Danger);
    }
}
