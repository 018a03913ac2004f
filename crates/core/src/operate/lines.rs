//! The lines of an export: how an event becomes a line of text, and a line an event again.
//!
//! A file is a header, a line per event, and a closing line. Each line ends with its link of a chain of SHA-256 over all lines up
//! to it, so that a file that was cut, edited or damaged is found out, and at which line.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::LogDigest;
pub(super) use crate::timestamp::{parse_time, time_text};
use crate::{
    AggregateKey, Checksum, Error, ErrorKind, EventData, EventEnvelope, GlobalSequence, Metadata, Result, Version,
};

pub(super) const FORMAT: &str = "firefly-eventstore";
pub(super) const FORMAT_VERSION: u32 = 1;

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
    /// Whether there may be others between them, which were not asked for.
    pub(super) filtered: bool,
}

/// The last line: what the file holds.
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

/// What a line is.
pub(super) enum Line {
    Event(Box<EventEnvelope>),
    Footer(Footer),
}

/// What a line ends with, around its link.
const LINK: &str = ",\"chain\":\"";
const END: &str = "\"}\n";
const LINK_DIGITS: usize = 64;

/// Writes lines.
pub(super) struct LineWriter<W> {
    out: W,
    chain: [u8; 32],
    line: Vec<u8>,
}

impl<W: Write> LineWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            chain: [0; 32],
            line: Vec::new(),
        }
    }

    pub(super) fn header(&mut self, header: &Header) -> Result<()> {
        self.object(header)
    }

    pub(super) fn footer(&mut self, footer: &Footer) -> Result<()> {
        self.object(footer)?;
        self.out.flush().map_err(not_written)
    }

    /// The line of an event, whose JSON was read before: it is taken as it is, unless a line break in it would cut the line.
    pub(super) fn event(&mut self, event: &EventEnvelope) -> Result<()> {
        self.line.clear();
        self.line.push(b'{');
        self.raw("global_sequence", &event.global_sequence.to_string());
        self.text("event_id", &event.event_id.to_string());
        self.text("aggregate_type", event.aggregate.aggregate_type().as_str());
        self.text("aggregate_id", &event.aggregate.id().to_string());
        self.raw("aggregate_version", &event.version.to_string());
        self.text("event_type", event.event_type.as_str());
        self.json(["event_data", "event_data_text"], event.data.as_str());
        if let Some(metadata) = &event.metadata {
            self.json(["metadata", "metadata_text"], metadata.as_str());
        }
        self.text("created_at", &time_text(event.created_at));
        if let Some(time) = event.updated_at {
            self.text("updated_at", &time_text(time));
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
                self.text(column, name);
            }
        }
        if let Some(bytes) = event.size_bytes {
            self.raw("event_size_bytes", &bytes.to_string());
        }
        if let Some(checksum) = event.checksum {
            self.text("checksum", &checksum.to_string());
        }
        self.end()
    }

    fn object(&mut self, value: &impl Serialize) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value).expect("plain structs are written as JSON");
        self.line.pop();
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.chain = link(&self.chain, &self.line);
        self.line.extend(LINK.bytes());
        self.line.extend(Checksum::from_bytes(self.chain).to_string().bytes());
        self.line.extend(END.bytes());
        self.out.write_all(&self.line).map_err(not_written)
    }

    fn key(&mut self, column: &str) {
        if self.line.len() > 1 {
            self.line.push(b',');
        }
        self.line.push(b'"');
        self.line.extend(column.bytes());
        self.line.extend(b"\":");
    }

    fn raw(&mut self, column: &str, value: &str) {
        self.key(column);
        self.line.extend(value.bytes());
    }

    fn text(&mut self, column: &str, value: &str) {
        self.key(column);
        serde_json::to_writer(&mut self.line, value).expect("text is written as JSON");
    }

    fn json(&mut self, [as_it_is, as_text]: [&str; 2], json: &str) {
        match json.contains(['\n', '\r']) || json.trim_ascii() != json {
            true => self.text(as_text, json),
            false => self.raw(as_it_is, json),
        }
    }
}

fn link(before: &[u8; 32], line: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(before).chain_update(line).finalize().into()
}

pub(super) fn not_written(error: std::io::Error) -> Error {
    Error::io("the export cannot be written", error)
}

/// Reads lines, each of which is checked.
pub(super) struct LineReader<R> {
    input: R,
    chain: [u8; 32],
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> LineReader<R> {
    /// A reader, and the header that the file begins with.
    pub(super) fn new(input: R) -> Result<(Self, Header)> {
        let mut reader = Self {
            input,
            chain: [0; 32],
            line: Vec::new(),
            number: 0,
        };
        reader.advance()?;
        let header: Header = reader.parse("a header")?;
        if header.format != FORMAT || header.format_version != FORMAT_VERSION {
            return Err(reader.damaged(format!(
                "the format is {:?}, version {}; this library reads {FORMAT:?}, version {FORMAT_VERSION}",
                header.format, header.format_version
            )));
        }
        Ok((reader, header))
    }

    /// The line that was read last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next event, or the closing line, after which there is nothing.
    pub(super) fn next(&mut self) -> Result<Line> {
        self.advance()?;
        if !self.line.starts_with(b"{\"events\":") {
            let event = self.parse("an event").and_then(|line: EventLine<'_>| {
                to_event(line).map_err(|error| self.damaged(format!("it holds no event: {error}")))
            })?;
            return Ok(Line::Event(Box::new(event)));
        }
        let footer: Footer = self.parse("a closing line")?;
        let mut rest = [0];
        match self.input.read(&mut rest).map_err(not_read)? {
            0 => Ok(Line::Footer(footer)),
            _ => {
                self.number += 1;
                Err(self.damaged("there is more after the closing line"))
            }
        }
    }

    /// Reads a line, and takes its link off it.
    fn advance(&mut self) -> Result<()> {
        self.line.clear();
        self.number += 1;
        self.input.read_until(b'\n', &mut self.line).map_err(not_read)?;
        if self.line.is_empty() {
            return Err(self.damaged("the file ends without a closing line; it was cut"));
        }
        let body = self
            .line
            .len()
            .checked_sub(LINK.len() + LINK_DIGITS + END.len())
            .ok_or_else(|| self.damaged("it is not a line of an export"))?;
        let (before, tail) = self.line.split_at(body);
        let told = tail
            .strip_prefix(LINK.as_bytes())
            .and_then(|tail| tail.strip_suffix(END.as_bytes()))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse::<Checksum>().ok())
            .ok_or_else(|| self.damaged("it does not end with its checksum; the file was cut or changed here"))?;
        let computed = link(&self.chain, before);
        if *told.as_bytes() != computed {
            return Err(self.damaged("its checksum does not match; the file was changed here"));
        }
        self.chain = computed;
        self.line.truncate(body);
        self.line.push(b'}');
        Ok(())
    }

    fn parse<'a, T: Deserialize<'a>>(&'a self, what: &str) -> Result<T> {
        serde_json::from_slice(&self.line).map_err(|error| self.damaged(format!("it is not {what}: {error}")))
    }

    fn damaged(&self, reason: impl Into<Box<str>>) -> Error {
        damaged(self.number, reason)
    }
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
