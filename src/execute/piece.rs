//! The merged bytes of one unit, on their way from a worker to the sink.

/// What direct input and output asks of addresses, offsets and lengths, on every common system.
pub const ALIGN: usize = 4096;

/// Some bytes at an address that leaves the same remainder by [`ALIGN`] as their offset in the file: most
/// of them can then go to the disk straight from here.
#[derive(Debug, Default)]
pub struct Piece {
    storage: Vec<u8>,
    start: usize,
    len: usize,
}

impl Piece {
    /// Room for `len` bytes that belong at `offset`, in `storage` that may have been used before.
    pub fn new(mut storage: Vec<u8>, len: usize, offset: u64) -> Self {
        if storage.len() < len + ALIGN {
            storage.resize(len + ALIGN, 0);
        }
        let wanted = (offset % ALIGN as u64) as usize;
        let there = storage.as_ptr() as usize % ALIGN;
        Self { storage, start: (wanted + ALIGN - there) % ALIGN, len }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.len]
    }

    /// The bytes, to fill.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.len]
    }

    /// The memory, for another piece.
    pub fn into_storage(self) -> Vec<u8> {
        self.storage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_file_leave_the_same_remainder() {
        let mut storage = Vec::new();
        for (len, offset) in [(0, 0), (1, 1), (10_000, 4095), (5, 1 << 40 | 77), (3 * ALIGN, 8)] {
            let mut piece = Piece::new(storage, len, offset);
            piece.bytes_mut().fill(7);
            assert_eq!(piece.bytes().len(), len);
            assert_eq!(piece.bytes().as_ptr() as usize % ALIGN, offset as usize % ALIGN);
            storage = piece.into_storage();
        }
    }
}
