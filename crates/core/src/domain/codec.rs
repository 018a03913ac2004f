//! Splits an event of an enum into the name of its variant and the JSON of its fields, and joins them again.
//!
//! serde's derive passes an enum to a serializer as a name and fields, and requests a name and then fields from a deserializer. Both are
//! handled here directly. No intermediate value is built, so the JSON is the same text that a struct with these fields has.

use std::cell::Cell;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, IntoDeserializer as _, Visitor};
use serde::ser::{self, Impossible, Serialize, Serializer};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::Error;

type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a type cannot be used for events, if it is not an enum whose variants are tagged with their names.
pub(super) const NOT_AN_ENUM: &str = "it has to be an enum whose variants serde tags with their names: no struct, no #[serde(tag)], no \
                           #[serde(untagged)]";
/// Why a variant cannot be an event, if its fields have no names.
pub(super) const UNNAMED: &str = "its fields have no names, so none could be added or left out later; give them names";
const NOT_AN_OBJECT: &str = "what it holds is not written as a JSON object, so no field could be added to it later; give it named \
                             fields, or a struct that has them";

/// The name of an event's variant, and the JSON object of its fields.
pub(super) fn take_apart<E: Serialize>(event: &E) -> Result<(&'static str, String)> {
    let mut json = serde_json::Serializer::new(Vec::with_capacity(128));
    let variant = event.serialize(TakeApart { json: &mut json })?;
    let json = String::from_utf8(json.into_inner()).expect("serde_json writes UTF-8");
    match json.starts_with('{') {
        true => Ok((variant, json)),
        false => Err(ser::Error::custom(format!("the variant {variant}: {NOT_AN_OBJECT}"))),
    }
}

/// The event of a variant's name, or one of its aliases, and the JSON of its fields.
pub(super) fn join<E: DeserializeOwned>(variant: &str, json: &str) -> Result<E> {
    E::deserialize(Join { variant, json })
}

/// The answer of an enum when it is asked for a variant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probed {
    /// Every name that it reads, including aliases; none if the type cannot be used for events.
    pub(super) names: Option<&'static [&'static str]>,
    /// The fields of the variant; none if the enum does not know it.
    pub(super) shape: Option<Shape>,
}

/// The kinds of fields of a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Nothing,
    One,
    Unnamed,
    Named,
}

/// Asks an enum for a variant, without any fields.
pub(super) fn probe<E: DeserializeOwned>(variant: &str) -> Probed {
    let found = Cell::default();
    // This always ends in an error, because there is no data to make an event from.
    let _ = E::deserialize(Probe { variant, found: &found });
    found.get()
}

struct TakeApart<'a> {
    json: &'a mut serde_json::Serializer<Vec<u8>>,
}

macro_rules! refuse {
    ($($method:ident($($Type:ty),*) -> $Ok:ty;)*) => {$(
        fn $method(self, $(_: $Type),*) -> Result<$Ok> {
            Err(ser::Error::custom(NOT_AN_ENUM))
        }
    )*};
}

impl<'a> Serializer for TakeApart<'a> {
    type Ok = &'static str;
    type Error = Error;
    type SerializeSeq = Impossible<&'static str, Error>;
    type SerializeTuple = Impossible<&'static str, Error>;
    type SerializeTupleStruct = Impossible<&'static str, Error>;
    type SerializeTupleVariant = Impossible<&'static str, Error>;
    type SerializeMap = Impossible<&'static str, Error>;
    type SerializeStruct = Impossible<&'static str, Error>;
    type SerializeStructVariant = Fields<'a>;

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<&'static str> {
        // Through serde_json's own writer, which is the only way to what it writes to.
        ser::SerializeStruct::end(self.json.serialize_struct("", 0)?)?;
        Ok(variant)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<&'static str> {
        value.serialize(self.json)?;
        Ok(variant)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        fields: usize,
    ) -> Result<Fields<'a>> {
        let json = self.json.serialize_struct("", fields)?;
        Ok(Fields { variant, json })
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant> {
        Err(ser::Error::custom(format!("the variant {variant}: {UNNAMED}")))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<&'static str> {
        Err(ser::Error::custom(NOT_AN_ENUM))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result<&'static str> {
        Err(ser::Error::custom(NOT_AN_ENUM))
    }

    refuse! {
        serialize_bool(bool) -> &'static str;
        serialize_i8(i8) -> &'static str;
        serialize_i16(i16) -> &'static str;
        serialize_i32(i32) -> &'static str;
        serialize_i64(i64) -> &'static str;
        serialize_u8(u8) -> &'static str;
        serialize_u16(u16) -> &'static str;
        serialize_u32(u32) -> &'static str;
        serialize_u64(u64) -> &'static str;
        serialize_f32(f32) -> &'static str;
        serialize_f64(f64) -> &'static str;
        serialize_char(char) -> &'static str;
        serialize_str(&str) -> &'static str;
        serialize_bytes(&[u8]) -> &'static str;
        serialize_none() -> &'static str;
        serialize_unit() -> &'static str;
        serialize_unit_struct(&'static str) -> &'static str;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
    }
}

struct Fields<'a> {
    variant: &'static str,
    json: <&'a mut serde_json::Serializer<Vec<u8>> as Serializer>::SerializeStruct,
}

impl ser::SerializeStructVariant for Fields<'_> {
    type Ok = &'static str;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
        ser::SerializeStruct::serialize_field(&mut self.json, name, value)
    }

    fn end(self) -> Result<&'static str> {
        ser::SerializeStruct::end(self.json)?;
        Ok(self.variant)
    }
}

#[derive(Clone, Copy)]
struct Join<'a> {
    variant: &'a str,
    json: &'a str,
}

impl<'a> Join<'a> {
    fn parse<T>(
        self,
        parse: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::StrRead<'a>>) -> Result<T>,
    ) -> Result<T> {
        let mut json = serde_json::Deserializer::from_str(self.json);
        let value = parse(&mut json)?;
        json.end()?;
        Ok(value)
    }
}

impl<'de> Deserializer<'de> for Join<'de> {
    type Error = Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_enum(Variant {
            is_known: names.contains(&self.variant),
            event: self,
        })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(de::Error::custom(NOT_AN_ENUM))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

struct Variant<'a> {
    event: Join<'a>,
    is_known: bool,
}

impl<'de> de::EnumAccess<'de> for Variant<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self)> {
        let name: StrDeserializer<'de, Error> = self.event.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        match self.is_known {
            true => self.event.parse(|json| NoFields::deserialize(json).map(drop)),
            // #[serde(other)]: accepts any fields of an unknown event.
            false => self.event.parse(|json| IgnoredAny::deserialize(json).map(drop)),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        self.event.parse(|json| seed.deserialize(json))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value> {
        Err(de::Error::custom(format!(
            "the variant {}: {UNNAMED}",
            self.event.variant
        )))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.event.parse(|json| json.deserialize_struct("", fields, visitor))
    }
}

/// An object whose members are ignored, as a struct ignores unknown ones; or nothing.
struct NoFields;

impl<'de> Deserialize<'de> for NoFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for NoFields {
    type Value = Self;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON object, of which a variant without fields takes nothing")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_map<M: de::MapAccess<'de>>(self, mut members: M) -> Result<Self, M::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self)
    }
}

#[derive(Clone, Copy)]
struct Probe<'a> {
    variant: &'a str,
    found: &'a Cell<Probed>,
}

impl Probe<'_> {
    fn note<T>(self, shape: Shape) -> Result<T> {
        let found = self.found.get();
        self.found.set(Probed {
            shape: Some(shape),
            ..found
        });
        Err(de::Error::custom("this was a question"))
    }
}

impl<'de> Deserializer<'de> for Probe<'de> {
    type Error = Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.found.set(Probed {
            names: Some(names),
            shape: None,
        });
        visitor.visit_enum(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(de::Error::custom(NOT_AN_ENUM))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> de::EnumAccess<'de> for Probe<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self)> {
        let name: StrDeserializer<'de, Error> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Probe<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        self.note(Shape::Nothing)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value> {
        self.note(Shape::One)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value> {
        self.note(Shape::Unnamed)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value> {
        self.note(Shape::Named)
    }
}
