//! Findings about a store, its server and its settings.

/// A finding about a store, its server or a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnosis {
    /// How bad it is.
    pub severity: Severity,
    /// The subject, such as `synchronous_commit`.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What to do, if anything.
    pub advice: Option<String>,
}

impl Diagnosis {
    /// A finding that is good.
    #[must_use]
    pub fn good(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            severity: Severity::Good,
            subject: subject.into(),
            found: found.into(),
            advice: None,
        }
    }

    /// A finding that is not good, and what to do.
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

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// As it should be.
    Good,
    /// Can be improved: it costs time or space.
    Notice,
    /// Will cause a failure some day.
    Warning,
    /// Stored events may be lost, or no event can be stored.
    Danger,
}
