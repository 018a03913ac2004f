//! `diff`: in which events two stores differ.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::iter::Peekable;

use clap::Args;
use firefly_eventstore::operate::{LogDigest, Operations, Seal};
use firefly_eventstore::{Error, EventEnvelope, EventQuery, EventStoreExt as _, GlobalSequence};
use serde::Serialize;

use super::tail::event_text;
use crate::console::{Console, DANGER, GOOD};
use crate::exit::{Exit, Failure, Result};
use crate::parse;
use crate::store::Chosen;
use crate::text::counted;
use crate::url::StoreUrl;

/// Show the events in which two stores differ
///
/// Compares the logs event by event, with all columns; two databases may spell the same JSON differently. A line that begins with < is only
/// in the first store, one with > only in the second. Begins after the newest seal that both stores have with the same digest. The exit
/// code is 0 if the logs are the same, 1 if not, and more after an error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore --store sqlite:ledger.db diff sqlite:copy.db
  firefly-eventstore diff postgres://clerk@standby/ledger?read_replica=true
  firefly-eventstore diff --brief --whole sqlite:copy.db
  firefly-eventstore diff --after 1200 --json sqlite:copy.db | jq .event_id")]
pub(crate) struct Diff {
    /// The second store
    #[arg(value_name = "URL")]
    second: StoreUrl,

    /// Only events after this global sequence
    #[arg(long, value_name = "SEQUENCE", value_parser = parse::sequence)]
    after: Option<GlobalSequence>,

    /// Only tell whether they differ: stop at the first difference
    #[arg(long)]
    brief: bool,

    /// Compare every event, also those before a common seal
    #[arg(long, conflicts_with = "after")]
    whole: bool,
}

/// A line for each event that is only in one store, or differs.
#[derive(Serialize)]
struct Difference<'a> {
    store: &'static str,
    #[serde(flatten)]
    event: &'a EventEnvelope,
}

#[derive(Serialize)]
struct Answer {
    after: GlobalSequence,
    compared: u64,
    differences: u64,
    last_sequence: GlobalSequence,
    digest: Option<String>,
}

/// The result of comparing two logs.
struct Comparison<'a> {
    console: &'a mut Console,
    is_brief: bool,
    compared: u64,
    differences: u64,
    last_sequence: GlobalSequence,
    /// The digest of the first log, up to where the second log is the same.
    digest: LogDigest,
}

impl Diff {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let (first, second) = (store.open()?, self.second.open()?);
        let on_second = |error: Error| Failure::from(error).on(&self.second);
        let seal = match (self.after, self.whole) {
            (None, false) => common_seal(&*first, &*second).map_err(on_second)?,
            _ => None,
        };
        let after = self.after.or(seal.map(|seal| seal.global_sequence)).unwrap_or_default();
        let mut comparison = Comparison {
            console,
            is_brief: self.brief,
            compared: 0,
            differences: 0,
            last_sequence: after,
            digest: seal.map_or(LogDigest::OF_NOTHING, |seal| seal.digest),
        };
        let query = EventQuery::new().after(after);
        let first = first.read(query.clone()).map(|event| Ok(event?));
        let second = second.read(query).map(|event| event.map_err(on_second));
        comparison.run(first.peekable(), second.peekable())?;
        comparison.answer(after, self.after.is_none(), seal)
    }
}

/// The newest seal with the same digest in both logs.
fn common_seal(first: &dyn Operations, second: &dyn Operations) -> Result<Option<Seal>, Error> {
    /// More seals than most logs have.
    const SEALS: u32 = 10_000;
    let theirs: HashMap<_, _> = second
        .newest_seals(SEALS)?
        .into_iter()
        .map(|seal| (seal.global_sequence, seal.digest))
        .collect();
    let own = first.newest_seals(SEALS)?;
    Ok(own
        .into_iter()
        .find(|seal| theirs.get(&seal.global_sequence) == Some(&seal.digest)))
}

impl Comparison<'_> {
    fn run(
        &mut self,
        mut first: Peekable<impl Iterator<Item = Result<EventEnvelope>>>,
        mut second: Peekable<impl Iterator<Item = Result<EventEnvelope>>>,
    ) -> Result<()> {
        while !(self.is_brief && self.differences > 0) {
            let sequence_of = |event: Option<&Result<EventEnvelope>>| match event {
                Some(Ok(event)) => Some(event.global_sequence),
                // An error is returned next.
                Some(Err(_)) => Some(GlobalSequence::ZERO),
                None => None,
            };
            let order = match (sequence_of(first.peek()), sequence_of(second.peek())) {
                (Some(first), Some(second)) => first.cmp(&second),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return Ok(()),
            };
            let first = if order.is_le() { first.next().transpose()? } else { None };
            let second = if order.is_ge() {
                second.next().transpose()?
            } else {
                None
            };
            self.compare(first.as_ref(), second.as_ref())?;
        }
        Ok(())
    }

    /// Compares the events of both logs at one sequence.
    fn compare(&mut self, first: Option<&EventEnvelope>, second: Option<&EventEnvelope>) -> Result<()> {
        self.compared += 1;
        let sequences = [first, second].into_iter().flatten().map(|event| event.global_sequence);
        self.last_sequence = sequences.max().unwrap_or(self.last_sequence);
        if let (Some(first), Some(second)) = (first, second) {
            let digest = self.digest.with(first)?.0;
            if first == second || digest == self.digest.with(second)?.0 {
                self.digest = digest;
                return Ok(());
            }
        }
        self.differences += 1;
        if self.is_brief {
            return Ok(());
        }
        for (event, store, mark, style) in [(first, "first", "<", DANGER), (second, "second", ">", GOOD)] {
            let Some(event) = event else { continue };
            match self.console.is_json() {
                true => self.console.json(&Difference { store, event })?,
                false => {
                    let line = format!(" {}{}", event.global_sequence, event_text(event, true));
                    self.console.marked_line(style, mark, line)?;
                }
            }
        }
        Ok(())
    }

    fn answer(self, after: GlobalSequence, is_whole: bool, seal: Option<Seal>) -> Result<Exit> {
        let digest = (is_whole && self.differences == 0).then(|| self.digest.to_string());
        if self.console.is_json() {
            self.console.json(&Answer {
                after,
                compared: self.compared,
                differences: self.differences,
                last_sequence: self.last_sequence,
                digest,
            })?;
        } else {
            if let Some(seal) = seal {
                let covered = format!(
                    "the same seal covers both logs up to global sequence {}",
                    seal.global_sequence
                );
                self.console.remark(covered);
            }
            match (self.differences, self.is_brief) {
                (0, _) => self.console.marked_line(
                    GOOD,
                    "the same",
                    format_args!(
                        ": {} compared, up to global sequence {}",
                        counted(self.compared, "event"),
                        self.last_sequence
                    ),
                )?,
                (_, true) => self.console.marked_line(
                    DANGER,
                    "different",
                    format_args!(" at global sequence {}", self.last_sequence),
                )?,
                (differences, false) => self.console.marked_line(
                    DANGER,
                    "different",
                    format_args!(": {}", counted(differences, "event")),
                )?,
            }
            if let Some(digest) = digest {
                self.console.line(format_args!("digest {digest}"))?;
            }
        }
        Ok(match self.differences {
            0 => Exit::Fine,
            _ => Exit::Findings,
        })
    }
}
