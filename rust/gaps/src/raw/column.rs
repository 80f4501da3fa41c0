//! A borrowed column of int64 values that another thread may be writing.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, Ordering};

/// Bytes of a cache line on the supported machines.
pub(super) const LINE: usize = 64;

/// A view of int64 values, aligned and contiguous.
///
/// # Concurrent writes
///
/// The memory often belongs to an array of another language. While the interpreter is released, another thread may
/// write to it. This type makes that safe:
///
/// - The owner's pointer is used as it is and never converted to `&[i64]`. That would promise that the memory does not
///   change, and would forbid atomic loads, which need a pointer that permits writes.
/// - Every value is read by a relaxed atomic load, or by a vector load in inline assembly, which stands for relaxed
///   loads of its lanes: a single opaque read into a register that is never repeated.
/// - A value that was read is checked before it is used as an index, a length or a capacity.
///
/// So concurrent writes can make the result unspecified, but cannot break memory safety.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    first: *const i64,
    len: usize,
    borrow: PhantomData<&'a [i64]>,
}

// SAFETY: a column only reads memory, by atomic loads; its creator keeps the memory alive for 'a.
unsafe impl Send for Column<'_> {}
// SAFETY: as above; a shared view only permits atomic reads.
unsafe impl Sync for Column<'_> {}

impl Column<'_> {
    /// Returns a view of `len` values, the first of which is at `first`.
    ///
    /// # Safety
    ///
    /// `first` is aligned for `i64`, and the `len` values stay readable for the lifetime of the view. Other threads may
    /// write them meanwhile. The pointer must not be derived from a reference that forbids such writes.
    #[must_use]
    pub const unsafe fn from_raw(first: *const i64, len: usize) -> Self {
        Self {
            first,
            len,
            borrow: PhantomData,
        }
    }

    /// Address of the first value.
    #[inline]
    #[cfg(target_arch = "x86_64")]
    pub(super) const fn as_ptr(&self) -> *const i64 {
        self.first
    }

    /// Number of values, at least one, before the next cache line begins.
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
        // SAFETY: the index was checked; the creator guarantees alignment and lifetime. The load is atomic because
        // other threads may write.
        unsafe { AtomicI64::from_ptr(self.first.add(index).cast_mut()).load(Ordering::Relaxed) }
    }

    /// The values in order.
    #[must_use]
    #[inline]
    pub fn values(&self) -> impl ExactSizeIterator<Item = i64> + DoubleEndedIterator {
        (0..self.len).map(|index| self.get(index))
    }

    /// The first index whose value is not `below`, if the values ascend; else any index.
    ///
    /// In both cases the value at the index (if it is below the length) was read as not `below`, and the value before
    /// it (if the index is not zero) was read as `below`.
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

    /// The values with indices in `from..to`.
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
        // SAFETY: the bounds were checked, so the range is within the memory that the creator guarantees.
        unsafe { Self::from_raw(self.first.add(from), to - from) }
    }
}

/// Unlike a slice's pointer, a vector's own pointer permits writes. There are none while the vector is borrowed.
impl<'a> From<&'a Vec<i64>> for Column<'a> {
    fn from(values: &'a Vec<i64>) -> Self {
        Self {
            first: values.as_ptr(),
            len: values.len(),
            borrow: PhantomData,
        }
    }
}
