//! Address space of our own: reserved once, used page by page, on huge pages where the system has them.

use std::ptr::{self, NonNull};
use std::slice;

/// Size and alignment of a huge page on the machines we know; elsewhere it is just a rounding.
const HUGE_PAGE: usize = 2 << 20;
/// Most bytes ever reserved; an answer beyond that grows on the heap.
const MOST: usize = 1 << 42;

/// int64 values in a private anonymous mapping; only touched pages cost memory.
#[derive(Debug)]
pub(super) struct Mapping {
    /// What was mapped, page-aligned, and how many bytes of it still are.
    base: NonNull<u8>,
    mapped: usize,
    /// The first value, aligned to a huge page within the mapping.
    first: NonNull<i64>,
    /// Number of values written, as far as anybody said.
    len: usize,
}

// SAFETY: the mapping is owned, and the memory is plain values.
unsafe impl Send for Mapping {}
// SAFETY: shared access only reads.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Reserves room for `bound` values; None where the system has no such room.
    pub(super) fn reserve(bound: usize) -> Option<Self> {
        let bytes = bound
            .checked_mul(size_of::<i64>())?
            .checked_next_multiple_of(HUGE_PAGE)?;
        if bytes > MOST {
            return None;
        }
        let mapped = bytes + HUGE_PAGE;
        // SAFETY: an anonymous mapping at a place of the kernel's choice; nothing existing is touched.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return None;
        }
        let base = NonNull::new(base.cast::<u8>())?;
        // At most one huge page, and the mapping is that much longer than `bytes`.
        let offset = base.as_ptr().align_offset(HUGE_PAGE).min(HUGE_PAGE);
        // SAFETY: within the mapping, as just said.
        let first = unsafe { base.add(offset) }.cast::<i64>();
        // SAFETY: the range is within the mapping. A refusal is no fault: pages are then of the usual size.
        unsafe { libc::madvise(first.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        Some(Self {
            base,
            mapped,
            first,
            len: 0,
        })
    }

    /// Where the values begin; room for as many as were reserved.
    pub(super) const fn first(&self) -> *mut i64 {
        self.first.as_ptr()
    }

    /// Says that `len` values are written, and gives the unused end back to the system.
    ///
    /// # Safety
    ///
    /// They are, and lie within what was reserved.
    pub(super) unsafe fn finish(&mut self, len: usize) {
        self.len = len;
        // SAFETY: both point into one mapping.
        let head = unsafe { self.first.cast::<u8>().offset_from_unsigned(self.base) };
        let used = head + (len * size_of::<i64>()).next_multiple_of(HUGE_PAGE);
        if used < self.mapped {
            // SAFETY: the range is the end of our mapping, on a huge page's border and so on a page's, and holds no
            // value.
            let released = unsafe { libc::munmap(self.base.add(used).as_ptr().cast(), self.mapped - used) };
            if released == 0 {
                self.mapped = used;
            }
        }
    }

    pub(super) fn values(&self) -> &[i64] {
        // SAFETY: `len` values were written, and nobody writes while they are borrowed.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no borrow outlives us.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapped) };
    }
}
