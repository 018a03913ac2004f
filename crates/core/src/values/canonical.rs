//! The canonical form of JSON documents, and its checksum.
//!
//! A database may return JSON with other whitespace, another order of keys and other spellings of strings and numbers (PostgreSQL's `jsonb`
//! and MySQL's `JSON` do). A checksum of the text would not survive that. A checksum of the *canonical form* does, and it changes whenever
//! a key or a value changes:
//!
//! ```
//! use firefly_eventstore_core::canonical::{canonicalize, checksum};
//!
//! let sent = r#"{"owner": "Zo\u00eb", "balance": 1000.00}"#;
//! let read_back = r#"{"balance":1e3,"owner":"Zoë"}"#;
//! assert_eq!(canonicalize(sent)?, r#"{"balance":1000,"owner":"Zoë"}"#);
//! assert_eq!(checksum(sent)?, checksum(read_back)?);
//! # Ok::<(), firefly_eventstore_core::canonical::JsonError>(())
//! ```
//!
//! # The canonical form
//!
//! It is that of [RFC 8785] (JSON Canonicalization Scheme, JCS), with one extension:
//!
//! - no whitespace between tokens;
//! - the members of an object sorted by the UTF-16 code units of their unescaped keys;
//! - strings with the escapes `\b \t \n \f \r \" \\` and `\u00xx` for the other control characters, and no others;
//! - a number as ECMAScript's `Number::toString` writes the nearest double, *if* that is exactly the number that was
//!   read. Otherwise (the extension) all its decimal digits, without an exponent.
//!
//! RFC 8785 treats every number as a double, so `9007199254740993` and `9007199254740992` have the same canonical form and checksum. Here
//! two numbers have the same form only if they are the same decimal number:
//!
//! ```
//! use firefly_eventstore_core::canonical::canonicalize;
//!
//! assert_eq!(canonicalize("9007199254740993")?, "9007199254740993"); // RFC 8785: 9007199254740992
//! assert_eq!(canonicalize("0.1000000000000000055")?, "0.1000000000000000055"); // RFC 8785: 0.1
//! assert_eq!(canonicalize("-0.0")?, "0");
//! assert_eq!(canonicalize("1E21")?, "1e+21");
//! # Ok::<(), firefly_eventstore_core::canonical::JsonError>(())
//! ```
//!
//! Only the sign of zero is lost.
//!
//! # What is refused
//!
//! Text that is not JSON by the grammar of RFC 8259; duplicate keys in one object; escapes of lone surrogates; nesting deeper than
//! [`MAX_DEPTH`]; numbers of more than [`MAX_DIGITS`] digits. See [`JsonError`].
//!
//! # Cost
//!
//! One pass over the text, and a sort of the members of each object that is not sorted. If a text is already canonical, it is not copied.
//! Otherwise the canonical form is built, which is rarely longer than the text. (In the worst case, a text of many `1e999`, it is 200 times
//! longer: limit the size of untrusted texts.) A number of more than 15 digits that is not an integer costs about as much as parsing and
//! writing a double. Hashing is a quarter to a third of the work if the processor has SHA instructions, and most of the work if not.
//!
//! [RFC 8785]: https://www.rfc-editor.org/rfc/rfc8785

use std::borrow::Cow;
use std::cmp::Ordering;
use std::error::Error;
use std::fmt;
use std::fmt::Write as _;
use std::iter::repeat_n;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// How deep arrays and objects may be nested: `[]` is 1 deep, `[{}]` is 2 deep.
///
/// `serde_json` reads this depth with its default recursion limit, so it can parse every accepted text.
pub const MAX_DEPTH: usize = 127;

/// The most digits of a number's canonical form, if the number is not exactly a double.
///
/// Without a limit, the ten characters `1e99999999` would become a hundred million.
pub const MAX_DIGITS: usize = 1_000;

/// The canonical form of a JSON text, as the [module documentation](self) defines it.
///
/// Equal documents have equal canonical forms, and different documents have different ones. A canonical form is its own canonical form.
///
/// ```
/// use firefly_eventstore_core::canonical::canonicalize;
///
/// assert_eq!(canonicalize(r#" {"b": [1.0, "\/"], "a": null} "#)?, r#"{"a":null,"b":[1,"/"]}"#);
/// # Ok::<(), firefly_eventstore_core::canonical::JsonError>(())
/// ```
///
/// # Errors
///
/// [`JsonError`] says why the text is refused, and where.
pub fn canonicalize(json: &str) -> Result<String, JsonError> {
    let mut reader = Reader::new(json);
    reader.document()?;
    Ok(reader.into_canonical().into_owned())
}

/// The SHA-256 of the canonical form of a JSON text.
///
/// ```
/// use firefly_eventstore_core::canonical::checksum;
///
/// assert_eq!(checksum(r#"{"a":1,"b":2}"#)?, checksum(r#"{ "b": 2.0, "a": 1 }"#)?);
/// assert_ne!(checksum(r#"{"a":1,"b":2}"#)?, checksum(r#"{"a":1,"b":3}"#)?);
/// assert_eq!(
///     checksum("{}")?.to_string(),
///     "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
/// );
/// # Ok::<(), firefly_eventstore_core::canonical::JsonError>(())
/// ```
///
/// # Errors
///
/// [`JsonError`] says why the text is refused, and where.
pub fn checksum(json: &str) -> Result<Checksum, JsonError> {
    let mut reader = Reader::new(json);
    reader.document()?;
    Ok(Checksum::of(&reader.into_canonical()))
}

/// Computes the checksum of a JSON text, and what else an event store must know about the text, in one pass.
///
/// ```
/// use firefly_eventstore_core::canonical::{checksum, examine};
///
/// let json = r#"{"amount": 12.30, "tags": ["a\u0000b"]}"#;
/// let findings = examine(json)?;
/// assert_eq!(findings.checksum, checksum(json)?);
/// assert_eq!(findings.depth, 2);
/// assert_eq!(findings.longest_key, "amount".len());
/// assert!(findings.is_object);
/// assert!(findings.has_nul);
/// assert_eq!(findings.inexact_number, None);
/// # Ok::<(), firefly_eventstore_core::canonical::JsonError>(())
/// ```
///
/// # Errors
///
/// [`JsonError`] says why the text is refused, and where.
pub fn examine(json: &str) -> Result<Findings, JsonError> {
    let mut reader = Reader::new(json);
    let is_object = reader.document()?;
    Ok(Findings {
        depth: reader.deepest,
        longest_key: reader.longest_key,
        has_nul: reader.has_nul,
        inexact_number: reader.inexact_number.map(Box::from),
        is_object,
        checksum: Checksum::of(&reader.into_canonical()),
    })
}

/// The findings of [`examine`] about a JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Findings {
    /// The SHA-256 of the canonical form.
    pub checksum: Checksum,
    /// How deep arrays and objects are nested: 0 for a bare string, number or literal, 1 for `{}`, at most [`MAX_DEPTH`].
    pub depth: usize,
    /// How many bytes of UTF-8 the longest key has, without its escapes; 0 if there is no key.
    pub longest_key: usize,
    /// Whether a string or a key contains U+0000, which PostgreSQL's `jsonb` cannot hold.
    pub has_nul: bool,
    /// The first number, as it is spelled, that some database or language would round; none if every number is portable.
    ///
    /// A number is portable if it is spelled as an integer (no point, no exponent) from [`i64::MIN`] to [`u64::MAX`], or if
    /// it is exactly what ECMAScript writes for the nearest double. Whatever `serde_json` writes for a 64-bit integer or an
    /// `f64` is portable.
    ///
    /// ```
    /// use firefly_eventstore_core::canonical::examine;
    ///
    /// let inexact = |json| Ok::<_, firefly_eventstore_core::canonical::JsonError>(examine(json)?.inexact_number);
    /// assert_eq!(inexact("[0.1, 9007199254740993]")?, None);
    /// assert_eq!(inexact("[0.1, 9007199254740993.0]")?.as_deref(), Some("9007199254740993.0"));
    /// # Ok::<(), firefly_eventstore_core::canonical::JsonError>(())
    /// ```
    pub inexact_number: Option<Box<str>>,
    /// Whether the document is an object.
    pub is_object: bool,
}

/// Why a JSON text is refused. Every offset counts bytes from the start of the text.
///
/// ```
/// use firefly_eventstore_core::canonical::{JsonError, canonicalize};
///
/// let refused = canonicalize(r#"{"a":1,"\u0061":2}"#).unwrap_err();
/// assert_eq!(refused, JsonError::DuplicateKey { key: "a".into(), offset: 7 });
/// assert_eq!(
///     refused.to_string(),
///     r#"the key "a" at byte 7 is in the same object already: keep one of the two"#,
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonError {
    /// The text is not JSON by the grammar of RFC 8259.
    Syntax {
        /// The offset of the first invalid byte; the length of the text if it ends too early.
        offset: usize,
        /// What could stand there.
        expected: &'static str,
    },
    /// An object contains a key twice, perhaps spelled differently. Some databases keep the first value, some the last, some both.
    DuplicateKey {
        /// The key, unescaped.
        key: Box<str>,
        /// Where the key occurs the second time.
        offset: usize,
    },
    /// An escape such as `\ud83d` without its other half. It is not a character, and UTF-8 cannot store it.
    LoneSurrogate {
        /// Where its backslash is.
        offset: usize,
    },
    /// Arrays and objects are nested deeper than [`MAX_DEPTH`].
    TooDeep {
        /// The bracket or brace that opens one level too many.
        offset: usize,
    },
    /// A number is not exactly a double and has more than [`MAX_DIGITS`] digits when it is written without an exponent.
    NumberTooLong {
        /// Where the number begins.
        offset: usize,
    },
}

impl JsonError {
    /// The place of the error in the text, in bytes.
    ///
    /// ```
    /// use firefly_eventstore_core::canonical::canonicalize;
    ///
    /// assert_eq!(canonicalize("[1,]").unwrap_err().offset(), 3);
    /// ```
    pub fn offset(&self) -> usize {
        match *self {
            Self::Syntax { offset, .. }
            | Self::DuplicateKey { offset, .. }
            | Self::LoneSurrogate { offset }
            | Self::TooDeep { offset }
            | Self::NumberTooLong { offset } => offset,
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { offset, expected } => {
                write!(f, "not JSON: expected {expected} at byte {offset}")
            }
            Self::DuplicateKey { key, offset } => {
                write!(
                    f,
                    "the key {key:?} at byte {offset} is in the same object already: keep one of the two"
                )
            }
            Self::LoneSurrogate { offset } => {
                write!(
                    f,
                    "the escape at byte {offset} is half of a surrogate pair: write both halves or the character itself"
                )
            }
            Self::TooDeep { offset } => {
                write!(
                    f,
                    "the nesting at byte {offset} is deeper than {MAX_DEPTH}: make the document flatter"
                )
            }
            Self::NumberTooLong { offset } => {
                write!(
                    f,
                    "the number at byte {offset} has more than {MAX_DIGITS} digits: write it as a string"
                )
            }
        }
    }
}

impl Error for JsonError {}

/// A SHA-256 of canonical JSON, shown as 64 lower-case hexadecimal digits.
///
/// ```
/// use firefly_eventstore_core::canonical::{Checksum, checksum};
///
/// let sum = checksum("[]")?;
/// let stored = sum.to_string();
/// assert_eq!(stored, "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945");
/// assert_eq!(stored.parse::<Checksum>()?, sum);
/// assert_eq!(Checksum::from_bytes(*sum.as_bytes()), sum);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Checksum([u8; 32]);

impl Checksum {
    /// The checksum that a binary column holds.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The checksum for a binary column.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of(canonical: &str) -> Self {
        Self(Sha256::digest(canonical).into())
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hex = [0; 64];
        for (digits, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            digits[0] = HEX[usize::from(byte >> 4)];
            digits[1] = HEX[usize::from(byte & 15)];
        }
        f.pad(str::from_utf8(&hex).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checksum({self})")
    }
}

/// Accepts only what [`Display`](fmt::Display) writes, so that a checksum has one spelling.
impl FromStr for Checksum {
    type Err = ParseChecksumError;

    fn from_str(hex: &str) -> Result<Self, ParseChecksumError> {
        if hex.len() != 64 {
            return Err(ParseChecksumError(()));
        }
        let mut bytes = [0; 32];
        // One test at the end instead of one per digit: this runs for every row that is read.
        let mut seen = 0;
        for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let (high, low) = (HEX_VALUES[usize::from(digits[0])], HEX_VALUES[usize::from(digits[1])]);
            seen |= high | low;
            *byte = high << 4 | low;
        }
        if seen > 15 {
            return Err(ParseChecksumError(()));
        }
        Ok(Self(bytes))
    }
}

/// The value of each hexadecimal digit in lower case; more than 15 for every other byte.
const HEX_VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        values[HEX[value] as usize] = value as u8;
        value += 1;
    }
    values
};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A text is not a [`Checksum`].
///
/// ```
/// use firefly_eventstore_core::canonical::Checksum;
///
/// let refused = "E3B0".parse::<Checksum>().unwrap_err();
/// assert_eq!(refused.to_string(), "not a checksum: write 64 lower-case hexadecimal digits");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseChecksumError(());

impl fmt::Display for ParseChecksumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a checksum: write 64 lower-case hexadecimal digits")
    }
}

impl Error for ParseChecksumError {}

/// Reads a text once and writes its canonical form.
///
/// Parts that are already canonical are not copied token by token. The canonical form of what has been read is `out` followed by
/// `json[copied..pos]`. `flush` moves the second part to the first when the next token has to be spelled differently.
struct Reader<'a> {
    json: &'a str,
    pos: usize,
    out: String,
    copied: usize,
    /// The members of all objects that are open, the innermost object's last.
    members: Vec<Member<'a>>,
    depth: usize,
    deepest: usize,
    longest_key: usize,
    has_nul: bool,
    inexact_number: Option<&'a str>,
}

/// A member of an object that is being read.
struct Member<'a> {
    /// The key, unescaped.
    key: Cow<'a, str>,
    /// Where the key begins in the source.
    offset: usize,
    /// Where key and value begin and end in the canonical form.
    start: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    fn new(json: &'a str) -> Self {
        Self {
            json,
            pos: 0,
            out: String::new(),
            copied: 0,
            members: Vec::with_capacity(16),
            depth: 0,
            deepest: 0,
            longest_key: 0,
            has_nul: false,
            inexact_number: None,
        }
    }

    /// Reads the whole text, and returns whether it is an object.
    fn document(&mut self) -> Result<bool, JsonError> {
        self.skip_whitespace();
        let is_object = self.peek() == Some(b'{');
        self.value()?;
        self.skip_whitespace();
        if self.pos < self.json.len() {
            return Err(self.expected("the end of the text"));
        }
        Ok(is_object)
    }

    fn into_canonical(mut self) -> Cow<'a, str> {
        if self.out.is_empty() {
            return Cow::Borrowed(&self.json[self.copied..self.pos]);
        }
        self.flush();
        Cow::Owned(self.out)
    }

    fn value(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => Err(self.expected("a value")),
        }
    }

    fn literal(&mut self, word: &'static str) -> Result<(), JsonError> {
        let rest = self.rest();
        if rest.starts_with(word.as_bytes()) {
            self.pos += word.len();
            return Ok(());
        }
        self.pos += word
            .bytes()
            .zip(rest)
            .take_while(|(expected, found)| expected == *found)
            .count();
        Err(self.expected(word))
    }

    fn array(&mut self) -> Result<(), JsonError> {
        self.descend()?;
        if self.peek() != Some(b']') {
            loop {
                self.value()?;
                if !self.another(b']', "',' or ']'")? {
                    break;
                }
            }
        }
        self.ascend();
        Ok(())
    }

    fn object(&mut self) -> Result<(), JsonError> {
        self.descend()?;
        let first = self.members.len();
        let mut sorted = true;
        if self.peek() != Some(b'}') {
            loop {
                let (offset, start) = (self.pos, self.written());
                let key = self.key()?;
                self.longest_key = self.longest_key.max(key.len());
                if let Some(previous) = self.members[first..].last() {
                    match utf16_order(&previous.key, &key) {
                        Ordering::Less => {}
                        Ordering::Equal => return Err(duplicate(&key, offset)),
                        Ordering::Greater => sorted = false,
                    }
                }
                self.skip_whitespace();
                if self.peek() != Some(b':') {
                    return Err(self.expected("':' after the key"));
                }
                self.pos += 1;
                self.skip_whitespace();
                self.value()?;
                self.members.push(Member {
                    key,
                    offset,
                    start,
                    end: self.written(),
                });
                if !self.another(b'}', "',' or '}'")? {
                    break;
                }
            }
        }
        if !sorted {
            self.sort_members(first)?;
        }
        self.members.truncate(first);
        self.ascend();
        Ok(())
    }

    /// Enters the array or object that opens here.
    fn descend(&mut self) -> Result<(), JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(JsonError::TooDeep { offset: self.pos });
        }
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        self.pos += 1;
        self.skip_whitespace();
        Ok(())
    }

    /// Leaves the array or object that closes here.
    fn ascend(&mut self) {
        self.pos += 1;
        self.depth -= 1;
    }

    /// After an element or a member: returns whether a comma follows, and so another one. Does not consume the closing byte.
    fn another(&mut self, close: u8, expected: &'static str) -> Result<bool, JsonError> {
        self.skip_whitespace();
        match self.peek() {
            Some(b',') => {
                self.pos += 1;
                self.skip_whitespace();
                Ok(true)
            }
            Some(byte) if byte == close => Ok(false),
            _ => Err(self.expected(expected)),
        }
    }

    /// Sorts the members of the innermost object by their keys. Its closing brace is the next byte.
    ///
    /// They are appended to `out` again, sorted, and the unsorted ones are removed.
    fn sort_members(&mut self, first: usize) -> Result<(), JsonError> {
        self.flush();
        let members = &mut self.members[first..];
        let unsorted = members[0].start..self.out.len();
        members.sort_unstable_by(|a, b| utf16_order(&a.key, &b.key).then(a.offset.cmp(&b.offset)));
        if let Some(pair) = members.windows(2).find(|pair| pair[0].key == pair[1].key) {
            return Err(duplicate(&pair[1].key, pair[1].offset));
        }
        for member in members {
            if self.out.len() > unsorted.end {
                self.out.push(',');
            }
            self.out.extend_from_within(member.start..member.end);
        }
        self.out.drain(unsorted);
        Ok(())
    }

    fn key(&mut self) -> Result<Cow<'a, str>, JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key in double quotes"));
        }
        let start = self.pos + 1;
        let escaped = self.string()?;
        let key = &self.json[start..self.pos - 1];
        Ok(if escaped {
            Cow::Owned(unescape(key))
        } else {
            Cow::Borrowed(key)
        })
    }

    /// Reads a string, and returns whether it contains escapes.
    fn string(&mut self) -> Result<bool, JsonError> {
        self.pos += 1;
        let mut escaped = false;
        loop {
            self.pos += plain_run(self.rest());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(_) => {
                    return Err(self.expected("an escape such as \\n or \\u0001 instead of a control character"));
                }
                None => return Err(self.expected("the '\"' that ends the string")),
            }
            escaped = true;
        }
        self.pos += 1;
        Ok(escaped)
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let start = self.pos;
        if let Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') = self.rest().get(1) {
            self.pos += 2;
            return Ok(());
        }
        let (character, length) = read_escape(self.rest()).map_err(|trouble| trouble.at(start))?;
        self.has_nul |= character == '\0';
        self.pos += length;
        self.respell(start, spell(character, &mut [0; 4]));
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.pos;
        let negative = self.peek() == Some(b'-');
        self.pos += usize::from(negative);
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits("a digit")?;
        if leading_zero && whole.len() > 1 {
            return Err(JsonError::Syntax {
                offset: self.pos - whole.len() + 1,
                expected: "no digit after a leading zero",
            });
        }
        let mut fraction = "";
        if self.peek() == Some(b'.') {
            self.pos += 1;
            fraction = self.digits("a digit after the point")?;
        }
        let exponent = self.exponent()?;

        // No exponent, no superfluous zero, and a double would be written without an exponent: already canonical.
        let superfluous_zero = if fraction.is_empty() {
            negative && leading_zero
        } else {
            fraction.ends_with('0')
        };
        let needs_exponent = whole.len() > 21 || leading_zero && fraction.starts_with("000000");
        let tidy = exponent.is_none() && !superfluous_zero && !needs_exponent;
        // Most numbers are this short, and portable: 64-bit integers, or exact doubles by the first rule of `is_double`.
        let short = whole.len() + fraction.len() <= if fraction.is_empty() { 18 } else { 15 };
        if tidy && short {
            return Ok(());
        }

        let spelling = &self.json[start..self.pos];
        let decimal = Decimal::new(negative, whole, fraction, exponent.unwrap_or(0));
        let is_double = decimal.is_double();
        if !is_double && decimal.plain_length() > MAX_DIGITS as i64 {
            return Err(JsonError::NumberTooLong { offset: start });
        }
        if !is_double && spelling.parse::<i64>().is_err() && spelling.parse::<u64>().is_err() {
            self.inexact_number.get_or_insert(spelling);
        }
        if !tidy {
            self.respell(start, &decimal.spell(is_double));
        }
        Ok(())
    }

    fn exponent(&mut self) -> Result<Option<i64>, JsonError> {
        if !matches!(self.peek(), Some(b'e' | b'E')) {
            return Ok(None);
        }
        self.pos += 1;
        let negative = self.peek() == Some(b'-');
        if negative || self.peek() == Some(b'+') {
            self.pos += 1;
        }
        // An exponent that does not fit into an i64 counts as this large: no text has enough zeros to make up for it.
        let magnitude = self.digits("a digit in the exponent")?.parse().unwrap_or(i64::MAX / 2);
        let magnitude = i64::min(magnitude, i64::MAX / 2);
        Ok(Some(if negative { -magnitude } else { magnitude }))
    }

    fn digits(&mut self, expected: &'static str) -> Result<&'a str, JsonError> {
        let start = self.pos;
        while let Some(b'0'..=b'9') = self.peek() {
            self.pos += 1;
        }
        if self.pos == start {
            return Err(self.expected(expected));
        }
        Ok(&self.json[start..self.pos])
    }

    fn skip_whitespace(&mut self) {
        if !self.at_whitespace() {
            return;
        }
        self.flush();
        while self.at_whitespace() {
            self.pos += 1;
        }
        self.copied = self.pos;
    }

    fn at_whitespace(&self) -> bool {
        matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t'))
    }

    /// Uses `canonical` as the canonical form of the source from `start` to the current position.
    fn respell(&mut self, start: usize, canonical: &str) {
        let end = self.pos;
        if &self.json[start..end] == canonical {
            return;
        }
        self.pos = start;
        self.flush();
        self.out.push_str(canonical);
        self.pos = end;
        self.copied = end;
    }

    fn flush(&mut self) {
        if self.out.capacity() == 0 {
            self.out.reserve(2 * self.json.len());
        }
        self.out.push_str(&self.json[self.copied..self.pos]);
        self.copied = self.pos;
    }

    /// The length of the canonical form of what has been read.
    fn written(&self) -> usize {
        self.out.len() + self.pos - self.copied
    }

    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.pos).copied()
    }

    fn rest(&self) -> &'a [u8] {
        &self.json.as_bytes()[self.pos..]
    }

    #[cold]
    fn expected(&self, expected: &'static str) -> JsonError {
        JsonError::Syntax {
            offset: self.pos,
            expected,
        }
    }
}

#[cold]
fn duplicate(key: &str, offset: usize) -> JsonError {
    JsonError::DuplicateKey {
        key: key.into(),
        offset,
    }
}

/// The order of two strings by UTF-16 code units.
///
/// It is the order of their UTF-8 bytes, with one exception. Characters beyond U+FFFF have first bytes F0 to F4. In UTF-16 they are
/// surrogates (D800 to DFFF), which sort before U+E000 to U+FFFF, whose first bytes are EE and EF. The later bytes of a character are
/// smaller than these, so they cannot be mistaken for first bytes.
fn utf16_order(a: &str, b: &str) -> Ordering {
    let rank = |byte| {
        if matches!(byte, 0xEE | 0xEF) { 0xFF } else { byte }
    };
    match a.bytes().zip(b.bytes()).find(|(a, b)| a != b) {
        // EE and EF get the same rank; the bytes themselves decide between them.
        Some((a, b)) => rank(a).cmp(&rank(b)).then(a.cmp(&b)),
        None => a.len().cmp(&b.len()),
    }
}

/// How many bytes at the start of a string are plain: neither a quote, a backslash nor a control character.
///
/// Tests eight bytes at a time: <https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord>. The lowest byte that is found is
/// exact; a borrow can only mark bytes above it.
fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH;
    let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);

    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let special = below(word, b' ') | equal(word, b'"') | equal(word, b'\\');
        if special != 0 {
            return index * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let plain = tail
        .iter()
        .take_while(|&&byte| byte >= b' ' && byte != b'"' && byte != b'\\')
        .count();
    words.len() * 8 + plain
}

/// What is wrong with an escape.
#[derive(Debug)]
enum BadEscape {
    Syntax { index: usize, expected: &'static str },
    LoneSurrogate,
}

impl BadEscape {
    fn at(self, start: usize) -> JsonError {
        match self {
            Self::Syntax { index, expected } => JsonError::Syntax {
                offset: start + index,
                expected,
            },
            Self::LoneSurrogate => JsonError::LoneSurrogate { offset: start },
        }
    }
}

/// The character that the escape at the start of `bytes` denotes, and the length of the escape.
fn read_escape(bytes: &[u8]) -> Result<(char, usize), BadEscape> {
    let character = match bytes.get(1) {
        Some(&byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return read_unicode_escape(bytes),
        _ => {
            return Err(BadEscape::Syntax {
                index: 1,
                expected: "one of \" \\ / b f n r t u after a backslash",
            });
        }
    };
    Ok((character, 2))
}

fn read_unicode_escape(bytes: &[u8]) -> Result<(char, usize), BadEscape> {
    let high = read_hex(bytes, 2)?;
    if let Some(character) = char::from_u32(high) {
        return Ok((character, 6));
    }
    if high >= 0xDC00 || bytes.get(6..8) != Some(b"\\u") {
        return Err(BadEscape::LoneSurrogate);
    }
    let low = read_hex(bytes, 8)?;
    if !(0xDC00..=0xDFFF).contains(&low) {
        return Err(BadEscape::LoneSurrogate);
    }
    let character = char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
    Ok((character.expect("a surrogate pair denotes a character"), 12))
}

fn read_hex(bytes: &[u8], start: usize) -> Result<u32, BadEscape> {
    (start..start + 4).try_fold(0, |value, index| {
        let digit = bytes.get(index).and_then(|&byte| char::from(byte).to_digit(16));
        let digit = digit.ok_or(BadEscape::Syntax {
            index,
            expected: "four hexadecimal digits after \\u",
        })?;
        Ok(value << 4 | digit)
    })
}

/// The canonical spelling of one character that was escaped.
fn spell(character: char, buffer: &mut [u8; 4]) -> &str {
    match character {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\0'..='\u{1f}' => CONTROLS[character as usize],
        _ => character.encode_utf8(buffer),
    }
}

#[rustfmt::skip]
const CONTROLS: [&str; 32] = [
    "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007",
    "\\b",     "\\t",     "\\n",     "\\u000b", "\\f",     "\\r",     "\\u000e", "\\u000f",
    "\\u0010", "\\u0011", "\\u0012", "\\u0013", "\\u0014", "\\u0015", "\\u0016", "\\u0017",
    "\\u0018", "\\u0019", "\\u001a", "\\u001b", "\\u001c", "\\u001d", "\\u001e", "\\u001f",
];

/// The characters of a string whose escapes have been checked.
fn unescape(mut escaped: &str) -> String {
    let mut characters = String::with_capacity(escaped.len());
    while let Some(backslash) = escaped.find('\\') {
        let (before, escape) = escaped.split_at(backslash);
        let (character, length) = read_escape(escape.as_bytes()).expect("the string has been read once");
        characters.push_str(before);
        characters.push(character);
        escaped = &escape[length..];
    }
    characters + escaped
}

/// An exact decimal number: 0.`digits` × 10^`point`.
struct Decimal {
    negative: bool,
    /// Neither the first nor the last digit is 0; zero has no digits.
    digits: String,
    point: i64,
}

impl Decimal {
    fn new(negative: bool, whole: &str, fraction: &str, exponent: i64) -> Self {
        let mut digits = String::with_capacity(whole.len() + fraction.len());
        digits.push_str(whole);
        digits.push_str(fraction);
        digits.truncate(digits.trim_end_matches('0').len());
        let significant = digits.trim_start_matches('0').len();
        let leading_zeros = digits.len() - significant;
        let point = exponent + length(whole) - length(&digits[..leading_zeros]);
        digits.drain(..leading_zeros);
        Self {
            negative,
            digits,
            point,
        }
    }

    /// Whether these are exactly the digits that ECMAScript writes for the nearest double.
    fn is_double(&self) -> bool {
        // If two decimals have at most 15 digits, they have different doubles, as long as doubles have their full 53 bits. So for this
        // double, no decimal is shorter, and none of the same length is nearer, than the one that was read.
        if self.digits.is_empty() || self.digits.len() <= 15 && (-290..=300).contains(&self.point) {
            return true;
        }
        // The spelling of a double has at most 17 digits and lies between 5e-324 and 1.8e308.
        if self.digits.len() > 17 || !(-330..=310).contains(&self.point) {
            return false;
        }
        let mut scientific = String::with_capacity(32);
        write!(scientific, "0.{}e{}", self.digits, self.point).expect("a String takes everything");
        let nearest: f64 = scientific.parse().expect("Rust reads decimal numbers");
        nearest != 0.0 && nearest.is_finite() && {
            let (shortest, point) = shortest_digits(nearest, scientific);
            shortest == self.digits && point == self.point
        }
    }

    /// The number of digits without an exponent.
    fn plain_length(&self) -> i64 {
        let digits = length(&self.digits);
        if self.point <= 0 {
            1 - self.point + digits
        } else {
            self.point.max(digits)
        }
    }

    /// The canonical form, by the steps of ECMAScript's `Number::toString` (where `point` is called n). A number that is not exactly a
    /// double never gets an exponent.
    fn spell(&self, is_double: bool) -> String {
        if self.digits.is_empty() {
            return "0".into();
        }
        let digits = self.digits.as_str();
        let point = self.point;
        let mut out = String::from(if self.negative { "-" } else { "" });
        if is_double && !(-5..=21).contains(&point) {
            let (first, others) = digits.split_at(1);
            let dot = if others.is_empty() { "" } else { "." };
            write!(out, "{first}{dot}{others}e{:+}", point - 1).expect("a String takes everything");
        } else if point <= 0 {
            out.push_str("0.");
            out.extend(repeat_n('0', count(-point)));
            out.push_str(digits);
        } else if point >= length(digits) {
            out.push_str(digits);
            out.extend(repeat_n('0', count(point - length(digits))));
        } else {
            let (whole, fraction) = digits.split_at(count(point));
            out.extend([whole, ".", fraction]);
        }
        out
    }
}

/// The fewest digits that denote a positive double, and the power of ten to multiply 0.`digits` with. If two spellings are that short,
/// takes the nearer one; if both are equally near, the even one, as ECMAScript does.
///
/// `buffer` is overwritten; it is passed in because the caller has one.
fn shortest_digits(double: f64, mut buffer: String) -> (String, i64) {
    buffer.clear();
    write!(buffer, "{double:e}").expect("a String takes everything");
    let (mantissa, exponent) = buffer.split_once('e').expect("the format has an exponent");
    let mut digits = String::with_capacity(17);
    digits.push_str(&mantissa[..1]);
    digits.push_str(mantissa.get("0.".len()..).unwrap_or(""));
    let point = 1 + exponent.parse::<i64>().expect("the exponent is a number");

    // Of two equally near spellings, the standard library takes the greater one. That is the odd one half of the time.
    let odd: u64 = digits.parse().expect("a double has at most 17 digits");
    if odd % 2 == 1 && is_exactly(double, odd * 10 - 5, point - length(&digits) - 1) {
        return ((odd - 1).to_string(), point);
    }
    (digits, point)
}

/// Whether a double is exactly `odd` × 10^`exponent`. Then it lies in the middle between two spellings that are one digit shorter.
///
/// 2^`exponent` is then the greatest power of two that divides the double, so the next double is no farther away than that,
/// and the two spellings, 10^(`exponent` + 1) apart, are no farther from each other: `exponent` is negative. The double times
/// 2^-`exponent` is `odd` / 5^-`exponent`, a whole number, and 5^26 is greater than any `odd`, which has at most 18 digits.
fn is_exactly(double: f64, odd: u64, exponent: i64) -> bool {
    if !(-25..0).contains(&exponent) {
        return false;
    }
    let fives = 5_u128.pow(exponent.unsigned_abs() as u32);
    let scaled = double * f64::from(1_u32 << exponent.unsigned_abs());
    scaled.fract() == 0.0 && scaled as u128 * fives == u128::from(odd)
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).expect("a text is shorter than the address space")
}

fn count(zeros: i64) -> usize {
    usize::try_from(zeros).expect("the layout with this many zeros has been chosen by their sign")
}
