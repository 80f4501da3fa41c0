//! Memory mappings for large results: reserved at once, used page by page, on huge pages if the system has them.

use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Mutex;

/// Size and alignment of a huge page on the supported machines; on others it is only a unit for rounding.
const HUGE_PAGE: usize = 2 << 20;
/// Most bytes of a mapping; a larger result grows on the heap.
const MOST: usize = 1 << 42;
/// Largest region that is kept for the next result. Fresh pages cost more than the writes to them.
const KEPT_BYTES: usize = 128 << 20;
/// Bytes of a kept region that stay allocated, as many as glibc's malloc would keep. The system may take back the rest
/// when it is short of memory.
const KEPT_FOR_GOOD: usize = 32 << 20;
/// Most regions that are kept: the two columns of a result.
const KEPT: usize = 2;

/// Regions kept for the next result: at most [`KEPT`], each of at most [`KEPT_BYTES`].
static WAITING: Mutex<Vec<Region>> = Mutex::new(Vec::new());

/// A private anonymous mapping, owned by its holder. Only touched pages cost memory.
#[derive(Debug)]
struct Region {
    /// Start of the mapping, page-aligned; `mapped` bytes of it are still mapped.
    base: NonNull<u8>,
    mapped: usize,
    /// The first value, aligned to a huge page within the mapping.
    first: NonNull<i64>,
}

// SAFETY: the memory is owned and holds plain values.
unsafe impl Send for Region {}

impl Region {
    fn map(bound: usize) -> Option<Self> {
        let bytes = bound
            .checked_mul(size_of::<i64>())?
            .checked_next_multiple_of(HUGE_PAGE)?;
        // Miri does not support these flags and madvise.
        if bytes > MOST || cfg!(miri) {
            return None;
        }
        let mapped = bytes + HUGE_PAGE;
        // SAFETY: an anonymous mapping at an address that the kernel chooses does not affect existing memory.
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
        // The offset is at most one huge page, by which the mapping is longer than `bytes`.
        let offset = base.as_ptr().align_offset(HUGE_PAGE).min(HUGE_PAGE);
        // SAFETY: the offset is within the mapping, see above.
        let first = unsafe { base.add(offset) }.cast::<i64>();
        // SAFETY: the range is within the mapping. If the system refuses, pages have the usual size.
        unsafe { libc::madvise(first.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        Some(Self { base, mapped, first })
    }

    /// Bytes before the first value.
    fn head(&self) -> usize {
        // SAFETY: both pointers are in the same mapping.
        unsafe { self.first.cast::<u8>().offset_from_unsigned(self.base) }
    }

    /// Unmaps the memory after the first `len` values.
    fn trim(&mut self, len: usize) {
        let used = self.head() + (len * size_of::<i64>()).next_multiple_of(HUGE_PAGE);
        if used < self.mapped {
            // SAFETY: the range is the end of this mapping, begins at a page border (that of a huge page), and holds no
            // values.
            let released = unsafe { libc::munmap(self.base.add(used).as_ptr().cast(), self.mapped - used) };
            if released == 0 {
                self.mapped = used;
            }
        }
    }

    /// Allows the system to take back memory beyond [`KEPT_FOR_GOOD`]. Until then, writes to it cause no page faults.
    fn lend(&self) {
        let kept = self.head() + KEPT_FOR_GOOD;
        if kept < self.mapped {
            // SAFETY: the range is the end of this mapping, begins at a page border, and its values are not needed. If
            // the system refuses, the pages stay allocated.
            unsafe { libc::madvise(self.base.add(kept).as_ptr().cast(), self.mapped - kept, libc::MADV_FREE) };
        }
    }

    fn unmap(self) {
        // SAFETY: this region owns the mapping, and is being dropped.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapped) };
    }
}

/// int64 values in a region. When dropped, the region is kept for the next result, or unmapped.
#[derive(Debug)]
pub(super) struct Mapping {
    /// The region; None only during the drop.
    region: Option<Region>,
    first: NonNull<i64>,
    /// Number of written values, set by `finish`.
    len: usize,
}

// SAFETY: the region is owned, and its memory holds plain values.
unsafe impl Send for Mapping {}
// SAFETY: shared access only reads.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Takes a kept region of any size.
    pub(super) fn waiting() -> Option<Self> {
        // No waiting for the lock: after a fork it may stay locked for ever. Without it, no kept region is used.
        WAITING.try_lock().ok()?.pop().map(Self::of)
    }

    /// Reserves room for `bound` values; None if the system refuses.
    pub(super) fn reserve(bound: usize) -> Option<Self> {
        Region::map(bound).map(Self::of)
    }

    fn of(region: Region) -> Self {
        Self {
            first: region.first,
            region: Some(region),
            len: 0,
        }
    }

    /// Address of the first value.
    pub(super) const fn first(&self) -> *mut i64 {
        self.first.as_ptr()
    }

    /// Number of values that fit.
    pub(super) fn capacity(&self) -> usize {
        let bytes = self.region.as_ref().map_or(0, |region| region.mapped - region.head());
        bytes / size_of::<i64>()
    }

    /// Sets the number of written values, and unmaps the unused end.
    ///
    /// # Safety
    ///
    /// The first `len` values have been written, and `len` is at most the capacity.
    pub(super) unsafe fn finish(&mut self, len: usize) {
        self.len = len;
        if let Some(region) = &mut self.region
            && region.mapped > KEPT_BYTES
        {
            region.trim(len);
        }
    }

    pub(super) fn values(&self) -> &[i64] {
        // SAFETY: `len` values were written, and no code writes while they are borrowed.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let Some(region) = self.region.take() else { return };
        match WAITING.try_lock() {
            Ok(mut waiting) if region.mapped <= KEPT_BYTES && waiting.len() < KEPT => {
                region.lend();
                waiting.push(region);
            }
            _ => region.unmap(),
        }
    }
}
