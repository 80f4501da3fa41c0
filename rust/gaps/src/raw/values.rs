//! Memory for results: small ones on the heap, each large one in its own mapping.

use std::ops::Deref;
use std::{ptr, slice};

use crate::raw::blocks::BLOCK;

#[cfg(target_os = "linux")]
use crate::raw::mapping::Mapping;

/// Number of values from which a column moves from the heap to a mapping.
#[cfg(target_os = "linux")]
const HEAP_LIMIT: usize = 1 << 15;

/// A finished column of int64.
#[derive(Debug, Default)]
pub struct Values(Storage);

#[derive(Debug)]
enum Storage {
    Heap(Vec<i64>),
    #[cfg(target_os = "linux")]
    Mapped(Mapping),
}

impl Default for Storage {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Storage {
    /// The first `len` values, which must be written, as a vector; copies them from a mapping to the heap.
    fn into_vec(self, len: usize) -> Vec<i64> {
        match self {
            Self::Heap(mut values) => {
                // SAFETY: the only caller is the builder, which wrote `len` values into the capacity.
                unsafe { values.set_len(len) };
                values
            }
            #[cfg(target_os = "linux")]
            Self::Mapped(mut mapping) => {
                // SAFETY: as above.
                unsafe { mapping.finish(len) };
                mapping.values().to_vec()
            }
        }
    }
}

impl Deref for Values {
    type Target = [i64];

    fn deref(&self) -> &[i64] {
        match &self.0 {
            Storage::Heap(values) => values,
            #[cfg(target_os = "linux")]
            Storage::Mapped(mapping) => mapping.values(),
        }
    }
}

impl From<Vec<i64>> for Values {
    fn from(values: Vec<i64>) -> Self {
        Self(Storage::Heap(values))
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Values {}

/// Two columns of one length that grow by pushing.
///
/// Both start on the heap. At [`HEAP_LIMIT`] they move to mappings with address space for `bound` values, so that a
/// result of millions is never copied again and lies on huge pages.
#[derive(Debug)]
pub(crate) struct PairsBuilder {
    /// Addresses of the storages. Each has room for `capacity` values, of which `len` are written.
    first: [*mut i64; 2],
    len: usize,
    capacity: usize,
    /// Vectors are kept at length 0 while their spare capacity is written.
    storage: [Storage; 2],
    bound: usize,
}

// SAFETY: the pointers lead into the storages, which are owned.
unsafe impl Send for PairsBuilder {}

impl PairsBuilder {
    /// Returns empty columns for probably at most `bound` values; more are possible.
    pub(crate) const fn new(bound: usize) -> Self {
        Self {
            first: [ptr::null_mut(); 2],
            len: 0,
            capacity: 0,
            storage: [Storage::Heap(Vec::new()), Storage::Heap(Vec::new())],
            // A writer reserves a whole block, even if the last block is only filled in part.
            bound: bound.saturating_add(BLOCK),
        }
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, left: i64, right: i64) {
        if self.len == self.capacity {
            self.grow();
        }
        // SAFETY: both storages have room for one more value, because `grow` made it or panicked.
        unsafe {
            self.first[0].add(self.len).write(left);
            self.first[1].add(self.len).write(right);
        }
        self.len += 1;
    }

    /// The columns so far.
    pub(crate) fn columns(&self) -> [&[i64]; 2] {
        if self.len == 0 {
            return [&[]; 2];
        }
        // SAFETY: `len` values are written, and no code writes while they are borrowed.
        self.first
            .map(|first| unsafe { slice::from_raw_parts(first, self.len) })
    }

    /// Removes the pairs from index `len` on, but keeps their memory.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Appends two columns of one length.
    pub(crate) fn extend(&mut self, left: &[i64], right: &[i64]) {
        assert_eq!(left.len(), right.len());
        while self.capacity - self.len < left.len() {
            self.grow();
        }
        for (first, values) in self.first.iter().zip([left, right]) {
            // SAFETY: there is room after the `len` existing values, and only this builder uses it.
            unsafe { ptr::copy_nonoverlapping(values.as_ptr(), first.add(self.len), values.len()) };
        }
        self.len += left.len();
    }

    /// Returns a writer that appends up to [`BLOCK`] pairs.
    #[inline(always)]
    pub(crate) fn block(&mut self) -> BlockWriter<'_> {
        while self.capacity - self.len < BLOCK {
            self.grow();
        }
        // SAFETY: the storages have room for one more block after the `len` values.
        let next = unsafe { [self.first[0].add(self.len), self.first[1].add(self.len)] };
        BlockWriter {
            builder: self,
            next,
            count: 0,
        }
    }

    /// Makes room for more values in both storages.
    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        #[cfg(target_os = "linux")]
        if self.capacity >= HEAP_LIMIT && self.move_to_mappings() {
            return;
        }
        // The first capacity is a block, since writers reserve that much.
        let target = (self.capacity * 2).max(BLOCK);
        for (storage, first) in self.storage.iter_mut().zip(&mut self.first) {
            let mut values = std::mem::take(storage).into_vec(self.len);
            values.reserve_exact(target - values.len());
            *first = values.as_mut_ptr();
            // SAFETY: length 0 is always valid. The values in the capacity stay written.
            unsafe { values.set_len(0) };
            *storage = Storage::Heap(values);
        }
        self.capacity = target;
    }

    /// Moves both columns to mappings of their final size; false if they are already there, or if the system refuses.
    #[cfg(target_os = "linux")]
    fn move_to_mappings(&mut self) -> bool {
        if self.bound <= self.len {
            return false;
        }
        let pair = match (Mapping::waiting(), Mapping::waiting()) {
            (Some(left), Some(right)) if left.capacity().min(right.capacity()) > self.len => (left, right),
            _ => match (Mapping::reserve(self.bound), Mapping::reserve(self.bound)) {
                (Some(left), Some(right)) => (left, right),
                _ => return false,
            },
        };
        let (left, right) = pair;
        for (mapping, first) in [&left, &right].into_iter().zip(&mut self.first) {
            // SAFETY: `len` values were written to the storage, and the mapping has room for more than that.
            unsafe { ptr::copy_nonoverlapping(*first, mapping.first(), self.len) };
            *first = mapping.first();
        }
        self.capacity = left.capacity().min(right.capacity());
        self.storage = [Storage::Mapped(left), Storage::Mapped(right)];
        true
    }

    /// Returns the columns and frees their unused memory.
    pub(crate) fn finish(self) -> [Values; 2] {
        let len = self.len;
        self.storage.map(|storage| {
            Values(match storage {
                #[cfg(target_os = "linux")]
                Storage::Mapped(mut mapping) => {
                    // SAFETY: `len` values were written.
                    unsafe { mapping.finish(len) };
                    Storage::Mapped(mapping)
                }
                heap @ Storage::Heap(_) => Storage::Heap(heap.into_vec(len)),
            })
        })
    }
}

/// Appends the pairs of one block without a check of the capacity each time.
pub(crate) struct BlockWriter<'a> {
    builder: &'a mut PairsBuilder,
    next: [*mut i64; 2],
    count: usize,
}

impl BlockWriter<'_> {
    /// Appends a pair if `keep` is true.
    ///
    /// # Panics
    ///
    /// If a whole block of pairs was appended already.
    #[inline(always)]
    pub(crate) fn push_if(&mut self, keep: bool, left: i64, right: i64) {
        assert!(self.count < BLOCK);
        // SAFETY: a block was reserved, and fewer pairs than a block were written.
        unsafe {
            self.next[0].add(self.count).write(left);
            self.next[1].add(self.count).write(right);
        }
        self.count += usize::from(keep);
    }

    /// Ends the block and adds its pairs to the columns.
    #[inline(always)]
    pub(crate) fn commit(self) {
        self.builder.len += self.count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_every_pair_on_the_way_from_heap_to_mapping_and_back() {
        let cases = [
            (0, 0),
            (5, 5),
            (5, 9),
            (40_000, 40_000),
            (300_000, 300_000),
            (40_000, 90_000),
            (1 << 36, 40_000),
        ];
        for (bound, count) in cases {
            let count = if cfg!(miri) { count / 32 } else { count };
            let mut builder = PairsBuilder::new(bound);
            (0..count).for_each(|value| builder.push(value, -value));
            let [left, right] = builder.finish();
            assert!(left.iter().copied().eq(0..count), "{bound} {count}");
            assert!(
                right.iter().copied().eq((0..count).map(|value| -value)),
                "{bound} {count}"
            );
        }
    }
}
