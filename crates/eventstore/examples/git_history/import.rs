//! Stores the history. It is idempotent, and continues where it stopped.

use std::time::Instant;

use firefly_eventstore::TenantStore;
use firefly_eventstore::prelude::*;
use serde::{Deserialize, Serialize};
use time::{Duration, macros::datetime};

use crate::Result;
use crate::git::{Change, Commit, History, Repository};
use crate::progress::Progress;

pub(crate) const FILE: &str = "File";

/// A commit can change any number of files, so it is appended in several parts, in one transaction.
const PIECE: usize = 1_000;
const CHANGES_PER_TRANSACTION: u64 = 5_000;

/// The data of an event: what one commit did to one file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FileChange {
    pub(crate) path: String,
    /// The new content of the file; none if it was deleted.
    #[serde(flatten)]
    pub(crate) file: Option<File>,
    /// The commit's time by git, in seconds since 1970. Any number is possible.
    pub(crate) committed: i64,
    pub(crate) subject: String,
    /// The previous commit that changed any file; none for the first.
    pub(crate) follows: Option<String>,
    /// The author of the commit, if the name is too long for the store's column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) mode: String,
    pub(crate) blob: String,
}

#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) stored: u64,
    pub(crate) already_stored: u64,
    /// The last commit that changed any file, up to the repository's current one.
    pub(crate) tip: Option<String>,
    pub(crate) duration: Duration,
}

/// Stores the commits that are not stored yet.
///
/// The id of an event is made from the commit and the path, so stored events are recognised. A transaction ends between
/// two commits. So a commit is stored completely or not at all, whenever the program is killed.
pub(crate) fn import(store: &SqliteEventStore, tenant: &TenantId, repository: &Repository) -> Result<Imported> {
    let started = Instant::now();
    let after = match last_commit(&store.for_tenant(tenant.clone()))? {
        Some(last) if repository.leads_through(&last)? => Some(last),
        // The last stored commit is on another branch. The whole history is read again, and the common part is
        // recognised.
        _ => None,
    };
    let mut import = Import {
        tenant,
        namespace: Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("git:{tenant}").as_bytes()),
        history: repository.history(after.as_deref())?,
        progress: Progress::new("store", repository.count(after.as_deref())?),
        tip: after,
        commits: 0,
        stored: 0,
        already_stored: 0,
    };
    while store.transaction(|tx| import.run(tx))? {
        let message = import.message();
        import.progress.at(import.commits, message);
    }
    Ok(Imported {
        stored: import.stored,
        already_stored: import.already_stored,
        tip: import.tip,
        duration: started.elapsed().try_into()?,
    })
}

fn last_commit(history: &TenantStore<SqliteEventStore>) -> Result<Option<String>> {
    let last = history.read(EventQuery::new().backwards().limit(1)).next();
    Ok(last
        .transpose()?
        .and_then(|event| event.correlation_id)
        .map(String::from))
}

/// The commit that git knows by `name`. If it changed no file, the nearest earlier one that did.
pub(crate) fn stored_commit(
    history: &TenantStore<SqliteEventStore>,
    repository: &Repository,
    name: &str,
) -> Result<Option<String>> {
    let id = repository.resolve(name)?;
    if is_stored(history, &id)? {
        return Ok(Some(id));
    }
    let mut on_line = false;
    for commit in repository.line()? {
        let commit = commit?;
        on_line |= commit == id;
        if on_line && is_stored(history, &commit)? {
            return Ok(Some(commit));
        }
    }
    if !on_line {
        return Err(format!("{name} is not on the line of first parents of HEAD, which is what is stored").into());
    }
    Ok(None)
}

fn is_stored(history: &TenantStore<SqliteEventStore>, commit: &str) -> Result<bool> {
    let event = history.read(EventQuery::new().correlation_id(commit)?.limit(1)).next();
    Ok(event.transpose()?.is_some())
}

struct Import<'a> {
    tenant: &'a TenantId,
    namespace: Uuid,
    history: History,
    progress: Progress,
    tip: Option<String>,
    commits: u64,
    stored: u64,
    already_stored: u64,
}

impl Import<'_> {
    fn message(&self) -> String {
        format!(" commits, {} changes", self.changes())
    }

    fn changes(&self) -> u64 {
        self.stored + self.already_stored
    }

    /// Appends a few commits, or one large one. Returns whether there may be more.
    fn run(&mut self, tx: &mut impl EventTransaction) -> Result<bool> {
        let until = self.changes() + CHANGES_PER_TRANSACTION;
        while self.changes() < until {
            let Some(commit) = self.history.next_commit()? else {
                return Ok(false);
            };
            self.append(tx, &commit)?;
            self.commits += 1;
        }
        Ok(true)
    }

    fn append(&mut self, tx: &mut impl EventTransaction, commit: &Commit) -> Result<()> {
        let follows = self.tip.clone();
        loop {
            let mut events = Vec::new();
            while events.len() < PIECE
                && let Some(change) = self.history.next_change()?
            {
                let file = AggregateKey::new(FILE, Uuid::new_v5(&self.namespace, &change.path))?;
                events.push((file, [self.event(commit, &change, follows.as_deref())?]));
            }
            if events.is_empty() {
                return Ok(());
            }
            let appends: Vec<_> = events
                .iter()
                .map(|(file, event)| Append::new(file, ExpectedVersion::Any, event).tenant(self.tenant))
                .collect();
            for appended in tx.append_all(&appends)? {
                let count = if appended.is_already_stored() {
                    &mut self.already_stored
                } else {
                    &mut self.stored
                };
                *count += 1;
            }
            self.progress.within(self.message());
            self.tip = Some(commit.id.clone());
        }
    }

    fn event(&self, commit: &Commit, change: &Change, follows: Option<&str>) -> Result<NewEvent> {
        let (event_type, gone) = match change.status {
            b'A' => ("file.added", false),
            b'M' => ("file.modified", false),
            b'D' => ("file.deleted", true),
            b'T' => ("file.type_changed", false),
            other => return Err(format!("git log wrote an unknown kind of change, {}", other.escape_ascii()).into()),
        };
        let (name, mail) = (readable(&commit.author_name), readable(&commit.author_mail));
        let author = format!("{name} <{mail}>").trim_start().to_owned();
        let created_by = self.fitting(&author);
        let data = FileChange {
            path: readable(&change.path),
            file: (!gone).then(|| File {
                mode: change.mode.clone(),
                blob: change.blob.clone(),
            }),
            committed: commit.committed,
            // The whole message stays in git.
            subject: readable(&commit.subject).chars().take(200).collect(),
            follows: follows.map(str::to_owned),
            author: (created_by != author).then_some(author),
        };
        let id = [commit.id.as_bytes(), b"\0", &change.path].concat();
        Ok(NewEvent::new(event_type, &data)?
            .with_id(Uuid::new_v5(&self.namespace, &id))
            .created_at(storable(commit.committed))?
            .created_by(created_by)?
            .correlation_id(commit.id.as_str())?)
    }

    /// The column holds 255 characters. A longer name is cut, and an id is added that keeps names with the same start
    /// apart.
    fn fitting(&self, author: &str) -> String {
        if author.chars().count() <= 255 {
            return author.to_owned();
        }
        let cut: String = author.chars().take(200).collect();
        format!("{cut}… {}", Uuid::new_v5(&self.namespace, author.as_bytes()))
    }
}

/// The nearest time that a store accepts.
fn storable(seconds: i64) -> OffsetDateTime {
    let (first, last) = (datetime!(1000-01-01 0:00 UTC), datetime!(9999-12-31 23:59:59 UTC));
    let seconds = seconds.clamp(first.unix_timestamp(), last.unix_timestamp());
    OffsetDateTime::from_unix_timestamp(seconds).expect("the time is between two times")
}

/// Bytes as text, without loss.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if char == '\\' || char.is_control() {
                text.extend(char.escape_default());
            } else {
                text.push(char);
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}
