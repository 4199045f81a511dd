//! Element types of stored tensors.

/// An element type, as safetensors names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    BF16,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// 16-bit integer.
    I16,
    /// 8-bit integer.
    I8,
    /// 64-bit unsigned integer.
    U64,
    /// 32-bit unsigned integer.
    U32,
    /// 16-bit unsigned integer.
    U16,
    /// 8-bit unsigned integer.
    U8,
    /// One byte, 0 or 1.
    Bool,
    /// 8-bit float with 4 exponent bits.
    F8E4M3,
    /// 8-bit float with 5 exponent bits.
    F8E5M2,
}

const ALL: [(DType, &str, &str, usize); 15] = [
    (DType::F64, "F64", "float64", 8),
    (DType::F32, "F32", "float32", 4),
    (DType::F16, "F16", "float16", 2),
    (DType::BF16, "BF16", "bfloat16", 2),
    (DType::I64, "I64", "int64", 8),
    (DType::I32, "I32", "int32", 4),
    (DType::I16, "I16", "int16", 2),
    (DType::I8, "I8", "int8", 1),
    (DType::U64, "U64", "uint64", 8),
    (DType::U32, "U32", "uint32", 4),
    (DType::U16, "U16", "uint16", 2),
    (DType::U8, "U8", "uint8", 1),
    (DType::Bool, "BOOL", "bool", 1),
    (DType::F8E4M3, "F8_E4M3", "float8_e4m3fn", 1),
    (DType::F8E5M2, "F8_E5M2", "float8_e5m2", 1),
];

impl DType {
    fn row(self) -> (Self, &'static str, &'static str, usize) {
        ALL[self as usize]
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        self.row().3
    }

    /// As in a safetensors header.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// As in `config.json`.
    pub fn torch_name(self) -> &'static str {
        self.row().2
    }

    /// The type of a safetensors name.
    pub fn from_name(name: &str) -> Option<Self> {
        ALL.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Whether there is arithmetic for it; other types are copied.
    pub fn is_mergeable(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_variants() {
        for (i, row) in ALL.iter().enumerate() {
            assert_eq!(row.0 as usize, i);
            assert_eq!(DType::from_name(row.1), Some(row.0));
            assert_eq!(row.0.size(), row.3);
        }
    }
}
