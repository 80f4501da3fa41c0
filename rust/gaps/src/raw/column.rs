//! A borrowed column of int64 that somebody else may be writing.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, Ordering};

/// Bytes of a cache line on the machines we know.
pub(super) const LINE: usize = 64;

/// A view of int64 values, aligned and contiguous.
///
/// # Concurrent writes
///
/// The memory often belongs to an array of another language, and with the interpreter released nothing stops
/// another thread from writing to it while we read. This is the one place that makes it harmless:
///
/// - the pointer comes as the owner gave it and never passes through `&[i64]`, which would promise that the memory
///   stands still, and would forbid the atomic loads, since those want a pointer that may be written through;
/// - every value is read by a relaxed atomic load, or by a vector load in inline assembly, which stands for the
///   relaxed loads of its lanes: each is one opaque read into a register and is never repeated;
/// - no index, length or capacity is taken from the memory without a check of the value that was read.
///
/// So a write from elsewhere can change the answer, which is then unspecified, but never memory safety.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    first: *const i64,
    len: usize,
    borrow: PhantomData<&'a [i64]>,
}

// SAFETY: a column only reads, atomically, memory that its creator keeps alive for 'a.
unsafe impl Send for Column<'_> {}
// SAFETY: as above; sharing the view shares nothing but atomic reads.
unsafe impl Sync for Column<'_> {}

impl Column<'_> {
    /// Returns a view of `len` values from `first` on.
    ///
    /// # Safety
    ///
    /// `first` is aligned for `i64`, and the `len` values behind it stay readable for the lifetime of the view.
    /// They may be written meanwhile, by anybody. No reference that promises otherwise was on the pointer's way.
    #[must_use]
    pub const unsafe fn from_raw(first: *const i64, len: usize) -> Self {
        Self {
            first,
            len,
            borrow: PhantomData,
        }
    }

    /// Where the values begin.
    #[inline]
    #[cfg(target_arch = "x86_64")]
    pub(super) const fn as_ptr(&self) -> *const i64 {
        self.first
    }

    /// Number of values, at least one, before the first line of a cache that begins behind the first value.
    pub(crate) fn before_line(&self) -> usize {
        self.first.wrapping_add(1).align_offset(LINE).saturating_add(1)
    }

    /// Number of values.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it is empty.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at `index`.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`Column::len`].
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> i64 {
        assert!(index < self.len, "index {index} of a column of {}", self.len);
        // SAFETY: the index was checked; the creator vouches for alignment and life. Atomic, because others may
        // write.
        unsafe { AtomicI64::from_ptr(self.first.add(index).cast_mut()).load(Ordering::Relaxed) }
    }

    /// The values in order.
    #[must_use]
    #[inline]
    pub fn values(&self) -> impl ExactSizeIterator<Item = i64> + DoubleEndedIterator {
        (0..self.len).map(|index| self.get(index))
    }

    /// The first index whose value is not `below`, for ascending values; some index for others.
    ///
    /// If it is not the length, the value there was seen not to be `below`; if it is not zero, the value before it was
    /// seen to be.
    pub(crate) fn partition_point(&self, below: impl Fn(i64) -> bool) -> usize {
        let (mut from, mut to) = (0, self.len);
        while from < to {
            let middle = from + (to - from) / 2;
            if below(self.get(middle)) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }

    /// The values from `from` up to, but not including, `to`.
    ///
    /// # Panics
    ///
    /// If `from <= to <= len` does not hold.
    #[must_use]
    pub fn slice(&self, from: usize, to: usize) -> Self {
        assert!(
            from <= to && to <= self.len,
            "slice {from}..{to} of a column of {}",
            self.len
        );
        // SAFETY: within the bounds just checked, so within the memory the creator vouched for.
        unsafe { Self::from_raw(self.first.add(from), to - from) }
    }
}

/// A vector's own pointer, unlike a slice's, may be written through; nobody does while the vector is borrowed.
impl<'a> From<&'a Vec<i64>> for Column<'a> {
    fn from(values: &'a Vec<i64>) -> Self {
        Self {
            first: values.as_ptr(),
            len: values.len(),
            borrow: PhantomData,
        }
    }
}
