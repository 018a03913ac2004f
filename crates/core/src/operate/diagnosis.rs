//! What was found out about a store, its server and its settings.

/// What was found out about one thing that matters to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnosis {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about, such as `synchronous_commit`.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What to do, if there is something to do.
    pub advice: Option<String>,
}

impl Diagnosis {
    /// Something that is as it should be.
    #[must_use]
    pub fn good(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            severity: Severity::Good,
            subject: subject.into(),
            found: found.into(),
            advice: None,
        }
    }

    /// Something that is not as it should be, and what to do.
    #[must_use]
    pub fn bad(
        severity: Severity,
        subject: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            subject: subject.into(),
            found: found.into(),
            advice: Some(advice.into()),
        }
    }
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// As it should be.
    Good,
    /// Worth a thought: it costs time or room.
    Notice,
    /// It will go wrong some day.
    Warning,
    /// What was stored may be lost, or nothing can be stored.
    Danger,
}
