//! The types in which tensors are stored: their names and block sizes.

/// The type in which a tensor's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TensorKind {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// 4 bits, a scale for every 32 values.
    Q4_0,
    /// 4 bits, scale and minimum for every 32 values.
    Q4_1,
    /// 5 bits, a scale for every 32 values.
    Q5_0,
    /// 5 bits, scale and minimum for every 32 values.
    Q5_1,
    /// 8 bits, a scale for every 32 values.
    Q8_0,
    /// 2 bits in super-blocks of 256, scale and minimum for every 16 values.
    Q2K,
    /// 3 bits in super-blocks of 256, a scale for every 16 values.
    Q3K,
    /// 4 bits in super-blocks of 256, scale and minimum for every 32 values.
    Q4K,
    /// 5 bits in super-blocks of 256, scale and minimum for every 32 values.
    Q5K,
    /// 6 bits in super-blocks of 256, a scale for every 16 values.
    Q6K,
    /// 4 bits as an index into sixteen levels, a scale for every 32 values.
    Iq4Nl,
    /// 4 bits as in [`Self::Iq4Nl`], in super-blocks of 256 with a scale for every 32 values.
    Iq4Xs,
}

/// `(type, number in the file, name in ggml, values of a block, bytes of a block)` of each type.
const KINDS: [(TensorKind, u32, &str, usize, usize); 15] = [
    (TensorKind::F32, 0, "F32", 1, 4),
    (TensorKind::F16, 1, "F16", 1, 2),
    (TensorKind::Bf16, 30, "BF16", 1, 2),
    (TensorKind::Q4_0, 2, "Q4_0", 32, 18),
    (TensorKind::Q4_1, 3, "Q4_1", 32, 20),
    (TensorKind::Q5_0, 6, "Q5_0", 32, 22),
    (TensorKind::Q5_1, 7, "Q5_1", 32, 24),
    (TensorKind::Q8_0, 8, "Q8_0", 32, 34),
    (TensorKind::Q2K, 10, "Q2_K", 256, 84),
    (TensorKind::Q3K, 11, "Q3_K", 256, 110),
    (TensorKind::Q4K, 12, "Q4_K", 256, 144),
    (TensorKind::Q5K, 13, "Q5_K", 256, 176),
    (TensorKind::Q6K, 14, "Q6_K", 256, 210),
    (TensorKind::Iq4Nl, 20, "IQ4_NL", 32, 18),
    (TensorKind::Iq4Xs, 23, "IQ4_XS", 256, 136),
];

/// Types of ggml that are not supported, to refuse them by name.
const OTHERS: [(u32, &str); 27] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

impl TensorKind {
    /// Every supported type.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|row| row.0)
    }

    /// The type with this number in the file; an error is the name of a type that is not supported.
    pub(crate) fn from_id(id: u32) -> Result<Self, String> {
        if let Some(row) = KINDS.iter().find(|row| row.1 == id) {
            return Ok(row.0);
        }
        let other = OTHERS.iter().find(|other| other.0 == id);
        Err(other.map_or_else(|| format!("GGML type {id}"), |other| other.1.to_owned()))
    }

    /// The row of [`KINDS`], which are in the order of the type's variants.
    const fn row(self) -> &'static (Self, u32, &'static str, usize, usize) {
        &KINDS[self as usize]
    }

    /// Its name in ggml.
    pub const fn name(self) -> &'static str {
        self.row().2
    }

    /// Values in one block.
    pub const fn block_len(self) -> usize {
        self.row().3
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        self.row().4
    }

    /// Bytes of `values` values.
    ///
    /// `values` is a multiple of [`Self::block_len`]; the reader refuses tensors whose rows are not.
    pub const fn bytes_of(self, values: usize) -> usize {
        values / self.block_len() * self.block_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_every_type_that_is_refused() {
        let documentation = include_str!("../model-files.md");
        for (number, name) in OTHERS {
            let row = format!("| type `{name}` = {number} | refused |");
            assert!(documentation.contains(&row), "{row}");
        }
    }

    #[test]
    fn the_table_is_in_the_order_of_the_variants_and_has_each_number_once() {
        for (place, row) in KINDS.iter().enumerate() {
            assert_eq!(row.0 as usize, place);
        }
        let mut numbers: Vec<u32> = KINDS
            .iter()
            .map(|row| row.1)
            .chain(OTHERS.iter().map(|other| other.0))
            .collect();
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    }
}
