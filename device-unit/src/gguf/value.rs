//! The values of metadata.

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum MetaValue {
    /// GGUF type 0.
    U8(u8),
    /// GGUF type 1.
    I8(i8),
    /// GGUF type 2.
    U16(u16),
    /// GGUF type 3.
    I16(i16),
    /// GGUF type 4.
    U32(u32),
    /// GGUF type 5.
    I32(i32),
    /// GGUF type 10.
    U64(u64),
    /// GGUF type 11.
    I64(i64),
    /// GGUF type 6.
    F32(f32),
    /// GGUF type 12.
    F64(f64),
    /// GGUF type 7; any byte except 0 is true.
    Bool(bool),
    /// GGUF type 8.
    String(String),
    /// GGUF type 9.
    Array(MetaArray),
}

/// An array of the metadata, by element type.
#[derive(Debug, Clone, PartialEq)]
pub enum MetaArray {
    /// Elements of GGUF type 0.
    U8(Vec<u8>),
    /// Elements of GGUF type 1.
    I8(Vec<i8>),
    /// Elements of GGUF type 2.
    U16(Vec<u16>),
    /// Elements of GGUF type 3.
    I16(Vec<i16>),
    /// Elements of GGUF type 4.
    U32(Vec<u32>),
    /// Elements of GGUF type 5.
    I32(Vec<i32>),
    /// Elements of GGUF type 10.
    U64(Vec<u64>),
    /// Elements of GGUF type 11.
    I64(Vec<i64>),
    /// Elements of GGUF type 6.
    F32(Vec<f32>),
    /// Elements of GGUF type 12.
    F64(Vec<f64>),
    /// Elements of GGUF type 7.
    Bool(Vec<bool>),
    /// Elements of GGUF type 8.
    Strings(StringTable),
    /// Elements of GGUF type 9, which are not kept: no key that is used has such a value.
    Nested,
}

/// Many strings in one allocation: vocabularies have 150,000 of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StringTable {
    text: String,
    /// End of each string in `text`, in bytes.
    ends: Vec<usize>,
}

impl MetaValue {
    /// The string; `None` for other types.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value of any integer type, if it fits into a u32.
    pub fn as_u32(&self) -> Option<u32> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v),
            Self::U64(v) => v.try_into().ok(),
            Self::I8(v) => v.try_into().ok(),
            Self::I16(v) => v.try_into().ok(),
            Self::I32(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// Whether it is of any integer type.
    pub const fn is_integer(&self) -> bool {
        matches!(
            self,
            Self::U8(_)
                | Self::I8(_)
                | Self::U16(_)
                | Self::I16(_)
                | Self::U32(_)
                | Self::I32(_)
                | Self::U64(_)
                | Self::I64(_)
        )
    }

    /// The value of a float type; an f64 is rounded.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::F32(v) => Some(v),
            Self::F64(v) => Some(v as f32),
            _ => None,
        }
    }

    /// The boolean; `None` for other types.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// The array of strings; `None` for other types.
    pub fn as_strings(&self) -> Option<&StringTable> {
        match self {
            Self::Array(MetaArray::Strings(table)) => Some(table),
            _ => None,
        }
    }

    /// An array of any integer type, if all values fit into a u32.
    pub fn as_u32s(&self) -> Option<Vec<u32>> {
        fn all<T: Copy + TryInto<u32>>(values: &[T]) -> Option<Vec<u32>> {
            values.iter().map(|&v| v.try_into().ok()).collect()
        }
        match self {
            Self::Array(MetaArray::U8(v)) => all(v),
            Self::Array(MetaArray::I8(v)) => all(v),
            Self::Array(MetaArray::U16(v)) => all(v),
            Self::Array(MetaArray::I16(v)) => all(v),
            Self::Array(MetaArray::U32(v)) => Some(v.clone()),
            Self::Array(MetaArray::I32(v)) => all(v),
            Self::Array(MetaArray::U64(v)) => all(v),
            Self::Array(MetaArray::I64(v)) => all(v),
            _ => None,
        }
    }
}

impl StringTable {
    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no strings.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string at `index`; `None` beyond the end.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? };
        self.text.get(start..end)
    }

    /// The strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }

    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }
}
