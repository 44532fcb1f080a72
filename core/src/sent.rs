//! Deserialisation of JSON from peers, without a tree of values: memory grows with what is kept, not with what a peer claims.
//!
//! Use [`Text`], [`Json`], [`Excerpt`], [`LimitedVec`], [`OneOrMany`] and [`Object`] as field types of derived structs; [`Checked`] keeps the
//! start of a value of another type, for the error message.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

/// A string's text, or the compact JSON of any other value with an object's keys in their order; at most the first
/// `MAX` bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text<const MAX: usize = { usize::MAX }>(pub String);

/// Any value's compact JSON; at most the first `MAX` bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Json<const MAX: usize>(pub String);

/// The first 40 characters of any value's compact JSON, for an error message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt(pub String);

/// A string, a [`LimitedVec`], [`OneOrMany`] or an [`Object`] as expected, or the start of what was sent instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked<T> {
    /// A value of the expected type.
    Expected(T),
    /// The start of a value of another type.
    Other(Excerpt),
}

/// The first `MAX` items of a list, and how many there were.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitedVec<T, const MAX: usize> {
    /// The items that are kept, at most `MAX`.
    pub items: Vec<T>,
    /// Number of items sent, those that were dropped included.
    pub count: usize,
}

/// A list, or a string in place of a list of that string alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OneOrMany<T, const MAX: usize>(pub LimitedVec<T, MAX>);

/// A JSON object. Derived types alone would accept a list too, as their fields in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Object<T>(pub T);

/// Characters of an [`Excerpt`].
const EXCERPT: usize = 40;

/// Text of at most `max` bytes; what is pushed beyond is dropped.
struct Out {
    text: String,
    max: usize,
}

impl Out {
    fn push(&mut self, text: &str) {
        let left = self.max.saturating_sub(self.text.len());
        self.text.push_str(&text[..text.floor_char_boundary(left)]);
    }

    /// Pushes a string with quotes and escapes.
    fn quote(&mut self, text: &str) {
        // Cut before escaping: the rest would be dropped anyway.
        let left = self.max.saturating_sub(self.text.len());
        let quoted = serde_json::Value::from(&text[..text.floor_char_boundary(left)]).to_string();
        self.push(&quoted);
    }
}

/// Writes a value's JSON; with `plain`, a string at the top without quotes.
struct Write<'a> {
    out: &'a mut Out,
    plain: bool,
}

impl<'de> DeserializeSeed<'de> for Write<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Write<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.out.push(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.out.push(&value.to_string());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.out.push(&value.to_string());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.out.push(&serde_json::Value::from(value).to_string());
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.out.push("null");
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        if self.plain {
            self.out.push(value);
        } else {
            self.out.quote(value);
        }
        Ok(())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<(), E> {
        if self.plain && self.out.text.is_empty() && value.len() <= self.out.max {
            self.out.text = value;
            return Ok(());
        }
        self.visit_str(&value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let out = self.out;
        out.push("[");
        let mut first = true;
        loop {
            let before = out.text.len();
            if !first {
                out.push(",");
            }
            if items.next_element_seed(Write { out, plain: false })?.is_none() {
                out.text.truncate(before);
                break;
            }
            first = false;
        }
        out.push("]");
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let out = self.out;
        out.push("{");
        let mut first = true;
        while let Some(key) = entries.next_key::<String>()? {
            if !first {
                out.push(",");
            }
            first = false;
            out.quote(&key);
            out.push(":");
            entries.next_value_seed(Write { out, plain: false })?;
        }
        out.push("}");
        Ok(())
    }
}

fn write<'de, D: Deserializer<'de>>(deserializer: D, max: usize, plain: bool) -> Result<String, D::Error> {
    let mut out = Out {
        text: String::new(),
        max,
    };
    Write { out: &mut out, plain }.deserialize(deserializer)?;
    Ok(out.text)
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        write(deserializer, MAX, true).map(Self)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Json<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        write(deserializer, MAX, false).map(Self)
    }
}

impl Excerpt {
    fn of(text: String) -> Self {
        match text.char_indices().nth(EXCERPT) {
            Some((end, _)) => Self(format!("{}…", &text[..end])),
            None => Self(text),
        }
    }
}

impl<'de> Deserialize<'de> for Excerpt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        write(deserializer, 4 * (EXCERPT + 1), false).map(Self::of)
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Visitor methods for values of types other than the expected one.
macro_rules! anything_else {
    () => {
        fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
            Ok(other(value.to_string()))
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
            Ok(other(value.to_string()))
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
            Ok(other(value.to_string()))
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
            Ok(other(serde_json::Value::from(value).to_string()))
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(other("null".to_owned()))
        }
    };
    (str) => {
        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            let start = &text[..text.floor_char_boundary(4 * EXCERPT)];
            Ok(other(serde_json::Value::from(start).to_string()))
        }
    };
    (seq) => {
        fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
            Excerpt::deserialize(SeqAccessDeserializer::new(items)).map(Checked::Other)
        }
    };
    (map) => {
        fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
            Excerpt::deserialize(MapAccessDeserializer::new(entries)).map(Checked::Other)
        }
    };
}

/// Visits a value of which the type `T` is expected.
pub struct Wanted<T>(PhantomData<T>);

impl<'de> Visitor<'de> for Wanted<String> {
    type Value = Checked<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Checked::Expected(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Checked::Expected(text))
    }

    anything_else!();
    anything_else!(seq);
    anything_else!(map);
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Wanted<LimitedVec<T, MAX>> {
    type Value = Checked<LimitedVec<T, MAX>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        limited(items).map(Checked::Expected)
    }

    anything_else!();
    anything_else!(str);
    anything_else!(map);
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Wanted<OneOrMany<T, MAX>> {
    type Value = Checked<OneOrMany<T, MAX>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let item = T::deserialize(text.into_deserializer())?;
        Ok(Checked::Expected(OneOrMany(LimitedVec {
            items: vec![item],
            count: 1,
        })))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        limited(items).map(|list| Checked::Expected(OneOrMany(list)))
    }

    anything_else!();
    anything_else!(map);
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Wanted<Object<T>> {
    type Value = Checked<Object<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries)).map(|value| Checked::Expected(Object(value)))
    }

    anything_else!();
    anything_else!(str);
    anything_else!(seq);
}

impl<'de, T> Deserialize<'de> for Checked<T>
where
    Wanted<T>: Visitor<'de, Value = Self>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Wanted(PhantomData))
    }
}

fn other<T>(text: String) -> Checked<T> {
    Checked::Other(Excerpt::of(text))
}

fn limited<'de, A: SeqAccess<'de>, T: Deserialize<'de>, const MAX: usize>(
    mut items: A,
) -> Result<LimitedVec<T, MAX>, A::Error> {
    let mut found = Vec::new();
    while found.len() < MAX {
        match items.next_element()? {
            Some(item) => found.push(item),
            None => break,
        }
    }
    let mut count = found.len();
    while count >= MAX && items.next_element::<IgnoredAny>()?.is_some() {
        count += 1;
    }
    Ok(LimitedVec { items: found, count })
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for LimitedVec<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
            type Value = LimitedVec<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
                limited(items)
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(entries)).map(Object)
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// Reads the first JSON value of a text and ignores what follows it.
///
/// # Errors
/// Where there is no value, or one of another type.
pub fn first<T: DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<T>();
    values
        .next()
        .unwrap_or_else(|| Err(serde_json::Error::custom("there is no value")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_string_is_its_own_text_and_any_other_value_its_json() {
        for (value, text) in [
            (json!("a\"b"), "a\"b"),
            (json!(42), "42"),
            (json!(-1.5), "-1.5"),
            (json!(null), "null"),
            (json!({"a": [1, "x\n", {}], "b": []}), r#"{"a":[1,"x\n",{}],"b":[]}"#),
        ] {
            assert_eq!(serde_json::from_value::<Text>(value).unwrap().0, text);
        }
        assert_eq!(serde_json::from_str::<Text<3>>(r#""aéb""#).unwrap().0, "aé");
        assert_eq!(
            serde_json::from_value::<Excerpt>(json!("x".repeat(100))).unwrap().0,
            format!("\"{}…", "x".repeat(39))
        );
    }

    #[test]
    fn lists_are_counted_and_held_up_to_their_limit() {
        let limited: LimitedVec<u32, 2> = serde_json::from_str("[1,2,3,\"x\",{}]").unwrap();
        assert_eq!((limited.items, limited.count), (vec![1, 2], 5));
        assert!(serde_json::from_str::<Object<LimitedVec<u32, 2>>>("[1]").is_err());
        match serde_json::from_str::<Checked<LimitedVec<u32, 2>>>(r#"{"a":1}"#).unwrap() {
            Checked::Other(excerpt) => assert_eq!(excerpt.0, r#"{"a":1}"#),
            Checked::Expected(_) => panic!("no list"),
        }
    }

    proptest! {
        #[test]
        fn any_values_text_is_that_of_its_tree(text in r#"[a-z"\\é]{0,6}"#, number in any::<i64>(), list in prop::collection::vec(any::<f64>().prop_filter("finite", |f| f.is_finite()), 0..4)) {
            let value = json!({ "k": [text, number, list, null, true] });
            let written: Text = serde_json::from_str(&value.to_string()).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&written.0).unwrap(), value);
        }
    }
}
