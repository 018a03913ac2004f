//! A check of an enum of events: it must read what it writes, and what older programs wrote.

use std::collections::BTreeSet;
use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::given::with_source;
use super::shown::{Shown, difference};
use crate::domain::Vocabulary;
use crate::{DomainEvent, EventData, EventType, NewEvent};

/// Checks an enum of events, with a sample of each variant. Every program with a log should have this test.
///
/// - Each sample can be stored, and is the same when it is read again.
/// - Each variant has a sample, and each alias is read as one of the variants.
///
/// Give the same samples in each run. Set every field once, and every `Option` to `Some` and to `None`. Then let the check
/// [keep their forms in files](EventCheck::frozen): a change of the enum that cannot read stored events fails a test then, not a service.
///
/// ```
/// use firefly_eventstore_core::{DomainEvent, testing::check_events};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum AccountEvent {
///     #[serde(rename = "account.opened")]
///     Opened { owner: String },
///     #[serde(rename = "money.deposited", alias = "deposit")]
///     Deposited { cents: i64, #[serde(default)] note: Option<String> },
/// }
///
/// impl DomainEvent for AccountEvent {}
///
/// let deposited = |note: Option<&str>| AccountEvent::Deposited { cents: 100, note: note.map(str::to_owned) };
/// check_events([AccountEvent::Opened { owner: "Ada".into() }, deposited(None), deposited(Some("rent"))])
///     .reads("deposit", &serde_json::json!({ "cents": 100 }), [deposited(None)]);
/// ```
///
/// # Panics
///
/// If the check fails, with what is wrong.
#[track_caller]
pub fn check_events<E: DomainEvent>(samples: impl IntoIterator<Item = E>) -> EventCheck<E> {
    let vocabulary = match Vocabulary::of::<E>() {
        Ok(vocabulary) => vocabulary,
        Err(error) => panic!("{}", with_source(&error)),
    };
    let mut check = EventCheck {
        vocabulary,
        samples: Vec::new(),
        old: BTreeSet::new(),
        events: PhantomData,
    };
    for sample in samples {
        let sample = check.written(&sample);
        check.assert_reads(&sample, std::slice::from_ref(&sample));
        check.samples.push(sample);
    }
    check.assert_each_name_has_a_sample();
    check
}

/// An enum of events whose samples passed the check: see [`check_events`].
#[derive(Debug)]
pub struct EventCheck<E> {
    vocabulary: &'static Vocabulary,
    samples: Vec<Shown>,
    /// The types for which an old form was read.
    old: BTreeSet<EventType>,
    events: PhantomData<fn() -> E>,
}

impl<E: DomainEvent> EventCheck<E> {
    /// Checks that a stored event with this type and data is read as these events: for an old form that is not in a file.
    ///
    /// # Panics
    ///
    /// If it cannot be read, or is read as other events, with the difference.
    #[track_caller]
    pub fn reads(
        mut self,
        event_type: &str,
        data: &(impl Serialize + ?Sized),
        expected: impl IntoIterator<Item = E>,
    ) -> Self {
        let stored = match NewEvent::new(event_type, data) {
            Ok(stored) => Shown::of(&stored),
            Err(error) => panic!("the old form could not be stored: {error}"),
        };
        let expected: Vec<_> = expected.into_iter().map(|event| self.written(&event)).collect();
        self.assert_reads(&stored, &expected);
        self.old.insert(stored.event_type);
        self
    }

    /// Checks that every form that was [recorded](Self::record) in a folder is still read in the same way, that every sample is recorded,
    /// and that every type with an upcast is recorded or was [read](Self::reads).
    ///
    /// The form in a file never changes, as it never changes in the log. If you change on purpose how a form is read, record again, and
    /// review the differences.
    ///
    /// ```
    /// # use firefly_eventstore_core::{DomainEvent, testing::check_events};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # enum AccountEvent {
    /// #     #[serde(rename = "account.opened")]
    /// #     Opened { owner: String },
    /// # }
    /// # impl DomainEvent for AccountEvent {}
    /// # let folder = std::env::temp_dir().join(format!("firefly-doc-{}", std::process::id()));
    /// # check_events([AccountEvent::Opened { owner: "Ada".into() }]).record(&folder);
    /// // In a test of the program, with a folder beside it, such as "tests/events/account":
    /// let check = check_events([AccountEvent::Opened { owner: "Ada".into() }]);
    /// match std::env::var_os("RECORD_EVENTS") {
    ///     Some(_) => check.record(&folder),
    ///     None => check.frozen(&folder),
    /// }
    /// # std::fs::remove_dir_all(folder).unwrap();
    /// ```
    ///
    /// # Panics
    ///
    /// If the check fails, with what is wrong; or if the folder cannot be read.
    #[track_caller]
    pub fn frozen(mut self, folder: impl AsRef<Path>) {
        let folder = folder.as_ref();
        for (file, form) in read_forms(folder) {
            let stored = form.stored();
            let actual = match self.read(&stored) {
                Ok(actual) => actual,
                Err(error) => panic!("{} cannot be read any more: {error}", file.display()),
            };
            let expected: Vec<_> = form.reads_as.iter().map(Form::shown).collect();
            assert!(
                actual == expected,
                "{} is read otherwise (+) than it was (-); if that was intended, record it again:\n{}",
                file.display(),
                difference(&expected, &actual)
            );
            self.samples.retain(|sample| *sample != stored);
            self.old.insert(stored.event_type);
        }
        if let Some(sample) = self.samples.first() {
            panic!(
                "no file in {} has the form {} {}: record it, before events of this form are stored",
                folder.display(),
                sample.event_type,
                sample.data
            );
        }
        let is_old =
            |event_type: &&EventType| self.vocabulary.has_upcast(event_type) && !self.old.contains(*event_type);
        if let Some(event_type) = self.vocabulary.event_types().iter().find(is_old) {
            panic!(
                "no file in {} has an event of the type {event_type}, which has an upcast: write one by hand, or check it by reads()",
                folder.display()
            );
        }
    }

    /// Writes the form of each new sample into a new file of a folder. In the existing files, updates the result of reading their form. The
    /// recorded types and data stay, because such events are stored in a log.
    ///
    /// # Panics
    ///
    /// If a recorded form cannot be read; or if the folder cannot be written.
    #[track_caller]
    pub fn record(self, folder: impl AsRef<Path>) {
        let folder = folder.as_ref();
        if let Err(error) = fs::create_dir_all(folder) {
            panic!("{} cannot be made: {error}", folder.display());
        }
        let mut new = self.samples.clone();
        for (file, form) in read_forms(folder) {
            let stored = form.stored();
            self.write_form(&file, &stored);
            new.retain(|sample| *sample != stored);
        }
        for sample in &new {
            self.write_form(&free_file(folder, &sample.event_type), sample);
        }
    }

    #[track_caller]
    fn write_form(&self, file: &Path, stored: &Shown) {
        let read = match self.read(stored) {
            Ok(read) => read,
            Err(error) => panic!("{} cannot be read any more: {error}", file.display()),
        };
        let form = RecordedForm {
            event: Form::of(stored),
            reads_as: read.iter().map(Form::of).collect(),
        };
        let text = serde_json::to_string_pretty(&form).expect("JSON can be written") + "\n";
        if let Err(error) = fs::write(file, text) {
            panic!("{} cannot be written: {error}", file.display());
        }
    }

    #[track_caller]
    fn written(&self, event: &E) -> Shown {
        match self.vocabulary.encode(event) {
            Ok(new) => Shown::of(&new),
            Err(error) => panic!("{}", with_source(&error)),
        }
    }

    fn read(&self, stored: &Shown) -> Result<Vec<Shown>, String> {
        let mut events = Vec::new();
        self.vocabulary
            .read::<E>(stored.event_type.as_str(), &stored.data, &mut |event| {
                events.push(event);
            })
            .map_err(|error| with_source(&error))?;
        let written = events.iter().map(|event| self.vocabulary.encode(event));
        let written = written.map(|new| new.map(|new| Shown::of(&new)).map_err(|error| with_source(&error)));
        written.collect()
    }

    #[track_caller]
    fn assert_reads(&self, stored: &Shown, expected: &[Shown]) {
        let Shown { event_type, data } = stored;
        let actual = match self.read(stored) {
            Ok(actual) => actual,
            Err(error) => panic!("{event_type} {data} cannot be read: {error}"),
        };
        assert!(
            actual == expected,
            "{event_type} {data} is read otherwise (+) than expected (-):\n{}",
            difference(expected, &actual)
        );
    }

    #[track_caller]
    fn assert_each_name_has_a_sample(&self) {
        for name in self.vocabulary.variants() {
            let is_read_as = |sample: &Shown| {
                let renamed = Shown {
                    event_type: name.clone(),
                    data: sample.data.clone(),
                };
                // An alias reads the same fields as the same event. Another variant would read them as another event.
                self.read(&renamed).is_ok_and(|read| read == [sample.clone()])
            };
            assert!(
                self.samples.iter().any(is_read_as),
                "no sample is of the variant {name}, or of the one that it is an alias of"
            );
        }
    }
}

/// The contents of a file.
#[derive(Serialize, Deserialize)]
struct RecordedForm {
    #[serde(flatten)]
    event: Form,
    reads_as: Vec<Form>,
}

#[derive(Serialize, Deserialize)]
struct Form {
    event_type: EventType,
    data: Value,
}

impl RecordedForm {
    fn stored(&self) -> Shown {
        self.event.shown()
    }
}

impl Form {
    fn of(event: &Shown) -> Self {
        Self {
            event_type: event.event_type.clone(),
            data: serde_json::from_str(&event.data).expect("canonical JSON is JSON"),
        }
    }

    fn shown(&self) -> Shown {
        Shown::new(&self.event_type, &EventData::from_stored(self.data.to_string()))
    }
}

/// The forms in a folder, in the order of the files' names.
#[track_caller]
fn read_forms(folder: &Path) -> Vec<(PathBuf, RecordedForm)> {
    let files = match fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(files) => files,
        Err(error) => panic!("{} cannot be read: {error}; record the samples first", folder.display()),
    };
    let mut files: Vec<_> = files.into_iter().map(|file| file.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).map_err(|error| error.to_string());
        match text.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string())) {
            Ok(form) => (file, form),
            Err(error) => panic!("{} cannot be read: {error}", file.display()),
        }
    };
    files.into_iter().map(read).collect()
}

/// A name for a new file, made from the type of the event.
fn free_file(folder: &Path, event_type: &EventType) -> PathBuf {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = event_type
        .as_str()
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    let mut files = (1..).map(|number| folder.join(format!("{name}.{number}.json")));
    files
        .find(|file| !file.exists())
        .expect("there are more numbers than files")
}
