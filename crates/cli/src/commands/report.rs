//! `report`: a page about the store.

use std::path::{Path, PathBuf};

use clap::Args;
use firefly_eventstore::TenantId;
use firefly_eventstore::operate::{Audit, Audited, Finding, Operations};
use serde::Serialize;

use crate::console::Console;
use crate::exit::{Exit, Result};
use crate::file::{self, Existing};
use crate::report::{self, About};
use crate::store::Chosen;
use crate::text;

/// Write a page with plots about the store, for any browser
///
/// One HTML file without scripts, which needs no network: events over time, types, tenants, sizes, growth, and the state of the
/// database. Reads the whole log.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore report
  firefly-eventstore report --verify --output /srv/www/ledger.html
  firefly-eventstore report --tenant acme --output -")]
pub(crate) struct Report {
    /// Where to write to; - is the standard output
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,

    /// Replace an existing file
    #[arg(long)]
    force: bool,

    /// Only data of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,

    /// The title of the report, instead of the usual one
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,

    /// Verify the store first, and show the findings in the report
    #[arg(long)]
    verify: bool,
}

#[derive(Serialize)]
struct Answer {
    output: String,
    findings: Option<u64>,
}

impl Report {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let url = store.url()?;
        let store = url.open()?;
        let mut about = About {
            store: url.to_string(),
            tenant: self.tenant,
            audited: None,
            title: self.title,
        };
        if self.verify {
            about.audited = Some(audit(&*store, console)?);
        }
        let bar = console.bar("reading");
        file::write_whole(&self.output, Existing::forced(self.force), |out| {
            report::write(&*store, &about, out, &mut |done, total| bar.show_at(done, total))?;
            Ok(())
        })?;
        drop(bar);
        let findings = about.audited.map(|(audited, _)| audited.findings);
        answer(&self.output, findings, console)?;
        Ok(match findings {
            None | Some(0) => Exit::Fine,
            Some(_) => Exit::Findings,
        })
    }
}

fn audit(store: &dyn Operations, console: &Console) -> Result<(Audited, Vec<Finding>)> {
    let bar = console.bar("verifying");
    let mut findings = Vec::new();
    let audited = Audit::new().run(store, |progress| bar.show(progress), |finding| findings.push(finding))?;
    Ok((audited, findings))
}

fn answer(output: &Path, findings: Option<u64>, console: &mut Console) -> Result<()> {
    let is_output_taken = file::is_standard(output);
    if console.is_json() {
        let answer = Answer {
            output: output.display().to_string(),
            findings,
        };
        match is_output_taken {
            true => console.json_remark(&answer),
            false => console.json(&answer)?,
        }
        return Ok(());
    }
    let verified = findings.map_or(String::new(), |findings| {
        format!(", {}", text::counted(findings, "finding"))
    });
    match is_output_taken {
        true => console.remark(format_args!("the report is written{verified}")),
        false => console.line(format_args!("the report is in {}{verified}", output.display()))?,
    }
    Ok(())
}
