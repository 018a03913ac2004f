//! The lines of an export: writing events as lines of text, and reading them.
//!
//! A file is a header, a line per event, and a closing line. Each line ends with a SHA-256 of all lines up to it. So a check finds the
//! first line at which a file was truncated, edited or damaged.

use std::fmt::Display;
use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use super::LogDigest;
use crate::values::timestamp::{self, time_text};
use crate::{
    AggregateKey, Checksum, Error, ErrorKind, EventData, EventEnvelope, GlobalSequence, Health, Metadata, Result,
    Version,
};

const FORMAT: &str = "firefly-eventstore";
const FORMAT_VERSION: u32 = 1;

/// The first line: what the file is, where it comes from, and which part of the log it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) format: String,
    pub(super) format_version: u32,
    pub(super) library_version: String,
    pub(super) backend: String,
    pub(super) server_version: String,
    pub(super) exported_at: String,
    /// The events are those after this sequence …
    pub(super) after: GlobalSequence,
    /// … up to this one.
    pub(super) until: GlobalSequence,
    /// Whether events between them may be missing, because of a filter.
    pub(super) filtered: bool,
    /// Whether the file is an archive: its events may be removed from the log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) archive: bool,
}

impl Header {
    /// The header of an export that begins now.
    pub(super) fn of(health: Health, after: GlobalSequence, until: GlobalSequence) -> Self {
        Self {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            library_version: env!("CARGO_PKG_VERSION").to_owned(),
            backend: health.backend.to_owned(),
            server_version: health.server_version,
            exported_at: time_text(OffsetDateTime::now_utc()).to_string(),
            after,
            until,
            filtered: false,
            archive: false,
        }
    }
}

/// The last line: a summary of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Footer {
    pub(super) events: u64,
    pub(super) last_sequence: GlobalSequence,
    pub(super) digest: String,
}

/// An event, with the names that the columns have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine<'a> {
    global_sequence: GlobalSequence,
    event_id: Uuid,
    aggregate_type: String,
    aggregate_id: Uuid,
    aggregate_version: Version,
    event_type: String,
    #[serde(borrow)]
    event_data: Option<&'a RawValue>,
    event_data_text: Option<String>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    metadata_text: Option<String>,
    created_at: String,
    updated_at: Option<String>,
    created_by: Option<String>,
    tenant_id: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    event_size_bytes: Option<u32>,
    checksum: Option<String>,
}

/// The kinds of lines.
pub(super) enum Line<E> {
    Event(E),
    Footer(Footer),
}

/// The beginning of the closing line.
const FOOTER: &[u8] = b"{\"events\":";

/// Parses the time that [`time_text`] wrote, and checks that a store can keep it.
pub(super) fn parse_time(text: &str) -> Result<OffsetDateTime> {
    crate::values::event::check_time(timestamp::parse_time(text)?)
}

/// The end of a line, around its link.
const LINK: &str = ",\"chain\":\"";
const END: &str = "\"}\n";
const LINK_DIGITS: usize = 64;

/// The length of a line after its object without the last brace.
const TAIL: usize = LINK.len() + LINK_DIGITS + END.len();

/// Writes lines. The objects are made elsewhere, and their links are added here.
pub(super) struct LineWriter<W> {
    out: W,
    chain: [u8; 32],
}

impl<W: Write> LineWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, chain: [0; 32] }
    }

    pub(super) fn header(&mut self, header: &Header) -> Result<()> {
        self.object(header)
    }

    pub(super) fn footer(&mut self, footer: &Footer) -> Result<()> {
        self.object(footer)?;
        self.out.flush().map_err(not_written)
    }

    /// Writes lines that [`event_line`] made, each of which ends at one of `ends`.
    pub(super) fn lines(&mut self, mut lines: Vec<u8>, ends: &[usize]) -> Result<()> {
        let mut rest = &mut lines[..];
        let mut start = 0;
        for end in ends {
            let (line, after) = rest.split_at_mut(end - start);
            self.link(line);
            (rest, start) = (after, *end);
        }
        self.out.write_all(&lines).map_err(not_written)
    }

    fn object(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value).expect("plain structs are written as JSON");
        line.pop();
        end_line(&mut line);
        let end = line.len();
        self.lines(line, &[end])
    }

    /// Writes the link of a line into it.
    fn link(&mut self, line: &mut [u8]) {
        let (before, tail) = line.split_at_mut(line.len() - TAIL);
        self.chain = link(&self.chain, before);
        let digits = Checksum::from_bytes(self.chain).to_string();
        tail[LINK.len()..][..LINK_DIGITS].copy_from_slice(digits.as_bytes());
    }
}

/// Adds the line of an event. Its JSON, which was examined before, is written unchanged, unless it has a line break that would split the
/// line. The line has space for its link, which depends on the previous lines.
pub(super) fn event_line(lines: &mut Vec<u8>, event: &EventEnvelope) {
    let mut line = EventWriter {
        line: lines,
        is_first: true,
    };
    line.raw("global_sequence", event.global_sequence);
    line.raw_text("event_id", event.event_id);
    line.text("aggregate_type", event.aggregate.aggregate_type().as_str());
    line.raw_text("aggregate_id", event.aggregate.id());
    line.raw("aggregate_version", event.version);
    line.text("event_type", event.event_type.as_str());
    line.json(["event_data", "event_data_text"], event.data.as_str());
    if let Some(metadata) = &event.metadata {
        line.json(["metadata", "metadata_text"], metadata.as_str());
    }
    line.raw_text("created_at", time_text(event.created_at));
    if let Some(time) = event.updated_at {
        line.raw_text("updated_at", time_text(time));
    }
    let names = [
        ("created_by", event.created_by.as_ref().map(|name| name.as_str())),
        ("tenant_id", event.tenant.as_ref().map(|name| name.as_str())),
        (
            "correlation_id",
            event.correlation_id.as_ref().map(|name| name.as_str()),
        ),
        ("causation_id", event.causation_id.as_ref().map(|name| name.as_str())),
    ];
    for (column, name) in names {
        if let Some(name) = name {
            line.text(column, name);
        }
    }
    if let Some(bytes) = event.size_bytes {
        line.raw("event_size_bytes", bytes);
    }
    if let Some(checksum) = event.checksum {
        line.raw_text("checksum", checksum);
    }
    end_line(lines);
}

/// Adds the end of a line, with space for its link.
fn end_line(line: &mut Vec<u8>) {
    line.extend(LINK.bytes());
    line.extend([b'0'; LINK_DIGITS]);
    line.extend(END.bytes());
}

/// Writes the members of an object, but not its last brace.
struct EventWriter<'a> {
    line: &'a mut Vec<u8>,
    is_first: bool,
}

impl EventWriter<'_> {
    fn key(&mut self, column: &str) {
        self.line.push(if self.is_first { b'{' } else { b',' });
        self.is_first = false;
        self.line.push(b'"');
        self.line.extend(column.bytes());
        self.line.extend(b"\":");
    }

    fn raw(&mut self, column: &str, value: impl Display) {
        self.key(column);
        write!(self.line, "{value}").expect("writing into memory does not fail");
    }

    /// Text without anything that JSON escapes.
    fn raw_text(&mut self, column: &str, value: impl Display) {
        self.key(column);
        write!(self.line, "\"{value}\"").expect("writing into memory does not fail");
    }

    fn text(&mut self, column: &str, value: &str) {
        self.key(column);
        serde_json::to_writer(&mut *self.line, value).expect("text is written as JSON");
    }

    fn json(&mut self, [as_it_is, as_text]: [&str; 2], json: &str) {
        match has_line_break(json) || json.trim_ascii() != json {
            true => self.text(as_text, json),
            false => {
                self.key(as_it_is);
                self.line.extend(json.bytes());
            }
        }
    }
}

/// Compares many bytes at once, because this runs for every payload.
fn has_line_break(json: &str) -> bool {
    let any = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(false, |any, byte| any | matches!(byte, b'\n' | b'\r'))
    };
    json.as_bytes().chunks(64).any(any)
}

fn link(before: &[u8; 32], line: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(before).chain_update(line).finalize().into()
}

pub(super) fn not_written(error: std::io::Error) -> Error {
    Error::io("the export cannot be written", error)
}

/// How many bytes of lines are checked and parsed at once; a line may be longer.
const CHUNK_BYTES: usize = 256 << 10;

/// Reads many lines at once, and checks only where they end.
pub(super) struct LineReader<R> {
    input: R,
    /// The link at the end of the last line, unchecked.
    link: [u8; 32],
    /// The last line, from 1.
    number: u64,
    is_over: bool,
}

/// Lines that follow one another.
pub(super) struct Chunk {
    text: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
    /// The number of the line before the first.
    number: u64,
    /// The link at the end of the line before the first, unchecked. If it is wrong, that line is refused.
    link: [u8; 32],
    /// The error if a line is missing after these, or if there is one too many.
    failed: Option<Error>,
}

/// The lines of a chunk, with their numbers, up to the first that is refused.
pub(super) struct Parsed<E> {
    pub(super) lines: Vec<(u64, Line<E>)>,
    /// The error after those lines.
    pub(super) failed: Option<Error>,
}

impl<R: BufRead> LineReader<R> {
    /// A reader, and the header that the file begins with.
    pub(super) fn new(mut input: R) -> Result<(Self, Header)> {
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line).map_err(not_read)?;
        if line.is_empty() {
            return Err(cut(1));
        }
        let (object, link) = checked(&mut line, &[0; 32], 1)?;
        let header: Header = parse(object, "a header", 1)?;
        if header.format != FORMAT || header.format_version != FORMAT_VERSION {
            return Err(damaged(
                1,
                format!(
                    "the format is {:?}, version {}; this library reads {FORMAT:?}, version {FORMAT_VERSION}",
                    header.format, header.format_version
                ),
            ));
        }
        let reader = Self {
            input,
            link,
            number: 1,
            is_over: false,
        };
        Ok((reader, header))
    }

    /// Reads up to the closing line, which must be the last.
    fn read(&mut self, chunk: &mut Chunk) -> Result<()> {
        while chunk.text.len() < CHUNK_BYTES {
            let start = chunk.text.len();
            let read = self.input.read_until(b'\n', &mut chunk.text).map_err(not_read)?;
            self.number += 1;
            if read == 0 {
                return Err(cut(self.number));
            }
            chunk.ends.push(chunk.text.len());
            let line = &chunk.text[start..];
            self.link = told_link(line).unwrap_or_default();
            if is_footer(line) {
                self.is_over = true;
                return match self.input.read(&mut [0]).map_err(not_read)? {
                    0 => Ok(()),
                    _ => Err(damaged(self.number + 1, "there are more lines after the closing line")),
                };
            }
        }
        Ok(())
    }
}

impl<R: BufRead> Iterator for LineReader<R> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if self.is_over {
            return None;
        }
        let mut chunk = Chunk {
            text: Vec::new(),
            ends: Vec::new(),
            number: self.number,
            link: self.link,
            failed: None,
        };
        if let Err(error) = self.read(&mut chunk) {
            chunk.failed = Some(error);
            self.is_over = true;
        }
        Some(chunk)
    }
}

impl Chunk {
    /// Its size in memory, as text and as events.
    pub(super) fn bytes(&self) -> u64 {
        2 * self.text.len() as u64
    }

    /// Checks and parses the lines. `event` is called with the event of each.
    pub(super) fn parse<E>(mut self, event: impl Fn(EventEnvelope) -> E) -> Parsed<E> {
        let mut lines = Vec::with_capacity(self.ends.len());
        let mut rest = &mut self.text[..];
        let mut start = 0;
        for (number, end) in (self.number + 1..).zip(&self.ends) {
            let (line, after) = rest.split_at_mut(end - start);
            (rest, start) = (after, *end);
            let parsed = checked(line, &self.link, number).and_then(|(object, link)| {
                self.link = link;
                parse_line(object, number)
            });
            match parsed {
                Ok(Line::Event(envelope)) => lines.push((number, Line::Event(event(envelope)))),
                Ok(Line::Footer(footer)) => lines.push((number, Line::Footer(footer))),
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Parsed {
            lines,
            failed: self.failed,
        }
    }
}

/// Whether a line is the closing one.
pub(super) fn is_footer(line: &[u8]) -> bool {
    line.starts_with(FOOTER)
}

/// The event of a single line, in a file that was checked.
pub(super) fn event_alone(line: &mut [u8]) -> Result<EventEnvelope> {
    let changed = || Error::invalid("the file was changed while it was read");
    let body = line.len().checked_sub(TAIL).ok_or_else(changed)?;
    line[body] = b'}';
    match parse_line(&line[..=body], 0)? {
        Line::Event(event) => Ok(event),
        Line::Footer(_) => Err(changed()),
    }
}

fn parse_line(object: &[u8], number: u64) -> Result<Line<EventEnvelope>> {
    if is_footer(object) {
        return parse(object, "a closing line", number).map(Line::Footer);
    }
    let line: EventLine<'_> = parse(object, "an event", number)?;
    let event = to_event(line).map_err(|error| damaged(number, format!("it holds no event: {error}")))?;
    Ok(Line::Event(event))
}

/// Removes and checks the link of a line. `before` is the link of the previous line. Returns the object in the line, and its link.
fn checked<'a>(line: &'a mut [u8], before: &[u8; 32], number: u64) -> Result<(&'a [u8], [u8; 32])> {
    let Some(body) = line.len().checked_sub(TAIL) else {
        return Err(damaged(number, "it is not a line of an export"));
    };
    let Some(told) = told_link(line) else {
        return Err(damaged(
            number,
            "it does not end with its checksum; the file was cut or changed here",
        ));
    };
    if told != link(before, &line[..body]) {
        return Err(damaged(
            number,
            "its checksum does not match; the file was changed here",
        ));
    }
    line[body] = b'}';
    Ok((&line[..=body], told))
}

/// The link at the end of a line, unchecked.
fn told_link(line: &[u8]) -> Option<[u8; 32]> {
    let (_, tail) = line.split_at_checked(line.len().checked_sub(TAIL)?)?;
    let digits = tail.strip_prefix(LINK.as_bytes())?.strip_suffix(END.as_bytes())?;
    let told: Checksum = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(*told.as_bytes())
}

fn parse<'a, T: Deserialize<'a>>(object: &'a [u8], what: &str, line: u64) -> Result<T> {
    serde_json::from_slice(object).map_err(|error| damaged(line, format!("it is not {what}: {error}")))
}

fn cut(line: u64) -> Error {
    damaged(line, "the file ends without a closing line; it was cut")
}

pub(super) fn damaged(line: u64, reason: impl Into<Box<str>>) -> Error {
    Error::new(ErrorKind::DamagedFile {
        line,
        reason: reason.into(),
    })
}

pub(super) fn not_read(error: std::io::Error) -> Error {
    Error::io("the export cannot be read", error)
}

fn to_event(line: EventLine<'_>) -> Result<EventEnvelope> {
    let json = |raw: Option<&RawValue>, text: Option<String>| match (raw, text) {
        (Some(raw), None) => Ok(Some(raw.get().to_owned())),
        (None, Some(text)) => Ok(Some(text)),
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Error::invalid("it has the same JSON twice")),
    };
    let checksum = |text: String| {
        text.parse()
            .map_err(|_| Error::invalid(format!("{text:?} is not a checksum")))
    };
    Ok(EventEnvelope {
        event_id: line.event_id,
        aggregate: AggregateKey::new(line.aggregate_type, line.aggregate_id)?,
        version: line.aggregate_version,
        global_sequence: line.global_sequence,
        event_type: line.event_type.try_into()?,
        data: json(line.event_data, line.event_data_text)?
            .map(EventData::from_stored)
            .ok_or_else(|| Error::invalid("it has no event_data"))?,
        metadata: json(line.metadata, line.metadata_text)?.map(Metadata::from_stored),
        created_at: parse_time(&line.created_at)?,
        updated_at: line.updated_at.as_deref().map(parse_time).transpose()?,
        created_by: line.created_by.map(TryInto::try_into).transpose()?,
        tenant: line.tenant_id.map(TryInto::try_into).transpose()?,
        correlation_id: line.correlation_id.map(TryInto::try_into).transpose()?,
        causation_id: line.causation_id.map(TryInto::try_into).transpose()?,
        size_bytes: line.event_size_bytes,
        checksum: line.checksum.map(checksum).transpose()?,
    })
}

impl Footer {
    pub(super) fn digest(&self, line: u64) -> Result<LogDigest> {
        self.digest.parse().map_err(|error| damaged(line, format!("{error}")))
    }
}
